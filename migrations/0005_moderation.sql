-- The moderators' queue; events that are held until a moderator decides; media that is not served.

CREATE TABLE moderation_queue (
    item_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                            -- held, flagged, report, request_abuse
    subject text NOT NULL,                         -- the event's ID, else the room's, else the user's
    event_id text,
    room_id text,
    sender text,                                   -- whose event it is, or who is reported
    reporter text,                                 -- the local user, or the instance, who reported it
    rule text,                                     -- the rule of the policy that held or flagged it
    note text,                                     -- what the reporter says, or why it is here
    unsent boolean NOT NULL DEFAULT false,         -- ours, held before any other instance got it
    times integer NOT NULL DEFAULT 1,              -- how often it was added while open
    created_at bigint NOT NULL,                    -- ms
    state text NOT NULL DEFAULT 'open',            -- open, released, dropped, resolved
    resolved_by text,                              -- a moderator, "command line", or "expiry"
    resolved_at bigint,                            -- ms
    resolution text                                -- what the moderator says
);
CREATE UNIQUE INDEX moderation_queue_open ON moderation_queue (kind, subject, coalesce(reporter, ''))
    WHERE state = 'open';
CREATE INDEX moderation_queue_pages ON moderation_queue (state, item_id);
CREATE INDEX moderation_queue_senders ON moderation_queue (sender, item_id) WHERE state = 'open';
CREATE INDEX moderation_queue_rules ON moderation_queue (rule, item_id) WHERE state = 'open';
CREATE INDEX moderation_queue_reporters ON moderation_queue (reporter)
    WHERE state = 'open' AND reporter IS NOT NULL;
CREATE INDEX moderation_queue_events ON moderation_queue (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX moderation_queue_age ON moderation_queue (coalesce(resolved_at, created_at));

-- A released event keeps its place (timeline_order); its position is that of its release.
CREATE INDEX events_released ON events (room_id, position)
    WHERE timeline_order > 0 AND position <> timeline_order;

-- Counts as unread for whoever has read past its place, but not since its release.
ALTER TABLE notifications ADD COLUMN released_at bigint;  -- position; null: was never held
CREATE INDEX notifications_released ON notifications (room_id, audience, released_at)
    WHERE released_at IS NOT NULL;

-- Media of accepted events that the policy keeps from being served here.
CREATE TABLE stripped_media (
    origin text NOT NULL,
    media_id text NOT NULL,
    rule text NOT NULL,
    event_id text NOT NULL,                        -- the event for which it was stripped first
    created_at bigint NOT NULL,                    -- ms
    lifted_by text,                                -- the moderator who lets it be served after all
    lifted_at bigint,                              -- ms
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX stripped_media_pages ON stripped_media (created_at, origin, media_id)
    WHERE lifted_at IS NULL;
