-- Messages that end by themselves, real deletion, retention, messages deleted for one reader.

ALTER TABLE events ADD COLUMN erased text;         -- its content is gone from here: redacted, expired,
                                                   -- viewed, retention, erasure; null: it is whole

-- Messages that end by themselves: dev.comity.expires, dev.comity.view_once.  The row goes with
-- the message's content.
CREATE TABLE message_ends (
    event_id text PRIMARY KEY,
    room_id text NOT NULL,
    sender text NOT NULL,
    timeline_order bigint,                         -- what receipts are compared with
    thread_id text NOT NULL,                       -- main, or the thread's root
    after_ms bigint,                               -- the timer; null: none
    from_read boolean NOT NULL,                    -- the timer waits for the first reader
    view_once boolean NOT NULL,                    -- ends once all have seen it
    due_at bigint,                                 -- ms; null: nobody has read it yet
    attempts int NOT NULL DEFAULT 0                -- how often ending it has failed
);
CREATE INDEX message_ends_due ON message_ends (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX message_ends_unread ON message_ends (room_id, timeline_order)
    WHERE from_read OR view_once;

-- Who has seen a message that may be viewed once.
CREATE TABLE message_views (
    event_id text NOT NULL,
    user_id text NOT NULL,
    device_id text,                                -- that downloaded its media; null: by a receipt
    seen_at bigint NOT NULL,                       -- ms
    PRIMARY KEY (event_id, user_id)
);
CREATE INDEX message_views_user ON message_views (user_id);

-- Messages that a user deleted for themselves alone.
CREATE TABLE hidden_events (
    user_id text NOT NULL,
    event_id text NOT NULL,
    room_id text NOT NULL,
    hidden_at bigint NOT NULL,                     -- ms
    PRIMARY KEY (user_id, event_id)
);

-- Redacted events whose content, or media, is still here.
CREATE TABLE redacted_contents (
    event_id text PRIMARY KEY,
    redacted_at bigint NOT NULL,                   -- ms
    media_deleted boolean NOT NULL DEFAULT false   -- media that it alone referred to is given up
);
CREATE INDEX redacted_contents_time ON redacted_contents (redacted_at);
CREATE INDEX redacted_contents_media ON redacted_contents (redacted_at) WHERE NOT media_deleted;

-- Media that a message which is gone referred to: deleted unless something else needs it.
CREATE TABLE media_deletions (
    origin text NOT NULL,
    media_id text NOT NULL,
    sender text NOT NULL,                          -- of the message: media of others stays
    PRIMARY KEY (origin, media_id, sender)
);

-- Which messages ended here, so that syncs can say so.
CREATE TABLE erasures (
    position bigint PRIMARY KEY,
    room_id text NOT NULL,
    event_ids text[] NOT NULL,
    erased_at bigint NOT NULL                      -- ms
);
CREATE INDEX erasures_room ON erasures (room_id, position);
CREATE INDEX erasures_age ON erasures (erased_at);

-- Whether uploaded media is somebody's avatar, before it is deleted.
CREATE INDEX profiles_avatar ON profiles ((fields->>'avatar_url'));
