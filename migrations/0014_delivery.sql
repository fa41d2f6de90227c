-- What is to be sent later, and how far what was sent has come.

-- Messages and events that their senders want sent at a certain time.
CREATE TABLE scheduled_sends (
    scheduled_id text PRIMARY KEY,                 -- also the transaction ID under which it is sent
    user_id text NOT NULL,
    device_id text NOT NULL,                       -- that scheduled it; empty: none
    kind text NOT NULL,                            -- message (Conversations API) or event (Matrix)
    txn_id text,                                   -- of the request: the same again is this row
    room_id text,                                  -- null: a message to a person
    event_type text,                               -- of an event
    state_key text,                                -- of a state event
    body json NOT NULL,                            -- the message, or the event's content
    delay_ms bigint NOT NULL,                      -- how long it waits from scheduled_at on
    scheduled_at bigint NOT NULL,                  -- ms: when it was scheduled, changed or restarted
    due_at bigint NOT NULL,                        -- ms: when it is tried (again)
    state text NOT NULL,                           -- scheduled, sending, sent, cancelled, failed
    revision int NOT NULL DEFAULT 0,               -- counts changes
    attempts int NOT NULL DEFAULT 0,               -- how often sending it has failed for the time being
    finished_at bigint,                            -- ms
    event_id text,                                 -- that was sent
    error json                                     -- why it failed, or what it waits for
);
CREATE INDEX scheduled_sends_due ON scheduled_sends (due_at) WHERE state IN ('scheduled', 'sending');
CREATE INDEX scheduled_sends_user ON scheduled_sends (user_id, kind, due_at, scheduled_id);
CREATE UNIQUE INDEX scheduled_sends_transaction ON scheduled_sends (user_id, device_id, kind, txn_id)
    WHERE txn_id IS NOT NULL;
CREATE INDEX scheduled_sends_finished ON scheduled_sends (finished_at) WHERE finished_at IS NOT NULL;

-- How far each local user has got: the position that one of their devices said it had.
-- Kept in memory, and written now and then.
CREATE TABLE device_progress (
    user_id text PRIMARY KEY,
    position bigint NOT NULL,
    reached_at bigint NOT NULL                     -- ms
);

-- How far users of other Comity instances have got, as their instances say (dev.comity.delivered).
CREATE TABLE remote_progress (
    room_id text NOT NULL,
    user_id text NOT NULL,
    timeline_order bigint NOT NULL,                -- of the last event that a device of theirs has
    reached_at bigint NOT NULL,                    -- ms
    PRIMARY KEY (room_id, user_id)
);

-- Events of ours that another instance did not take.
CREATE TABLE delivery_refusals (
    event_id text NOT NULL,
    server_name text NOT NULL,
    reason text NOT NULL,
    refused_at bigint NOT NULL,                    -- ms
    PRIMARY KEY (event_id, server_name)
);
CREATE INDEX delivery_refusals_age ON delivery_refusals (refused_at);

-- Drafts, the newest first.
CREATE INDEX account_data_drafts ON account_data (user_id, position) WHERE type = 'dev.comity.draft';
