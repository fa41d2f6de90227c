-- Pushers, and what waits to be pushed.

CREATE TABLE pushers (
    pusher_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES accounts,
    app_id text NOT NULL,
    pushkey text NOT NULL,
    kind text NOT NULL,
    device_id text,
    enabled boolean NOT NULL,
    app_display_name text NOT NULL,
    device_display_name text NOT NULL,
    profile_tag text,
    lang text NOT NULL,
    data json NOT NULL,
    updated_at bigint NOT NULL,
    since bigint NOT NULL,
    failures int NOT NULL DEFAULT 0,
    retry_at bigint,
    sent_at bigint,
    UNIQUE (app_id, pushkey, user_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX pushers_user ON pushers (user_id);
CREATE INDEX pushers_device ON pushers (user_id, device_id) WHERE device_id IS NOT NULL;
COMMENT ON COLUMN pushers.kind IS 'http or email';
COMMENT ON COLUMN pushers.device_id IS 'the device that set it; it goes with its device';
COMMENT ON COLUMN pushers.data IS 'for the push gateway, as the client gave it';
COMMENT ON COLUMN pushers.updated_at IS 'when the pushkey was set last (ms)';
COMMENT ON COLUMN pushers.since IS 'the log''s position when it was made: what was before is not pushed';
COMMENT ON COLUMN pushers.failures IS 'requests that failed in a row';
COMMENT ON COLUMN pushers.retry_at IS 'not to be tried before (ms)';
COMMENT ON COLUMN pushers.sent_at IS 'when the last mail was sent (ms)';

CREATE TABLE push_queue (
    queue_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pusher_id bigint NOT NULL REFERENCES pushers ON DELETE CASCADE,
    event_id text,
    room_id text,
    thread_id text,
    actions json,
    queued_at bigint NOT NULL
);
CREATE UNIQUE INDEX push_queue_events ON push_queue (pusher_id, event_id);
CREATE UNIQUE INDEX push_queue_badges ON push_queue (pusher_id) WHERE event_id IS NULL;
CREATE INDEX push_queue_order ON push_queue (pusher_id, queue_id);
COMMENT ON TABLE push_queue IS 'what each pusher has yet to send; a row goes when it is sent';
COMMENT ON COLUMN push_queue.event_id IS 'null: the unread counts alone';
COMMENT ON COLUMN push_queue.thread_id IS 'in which a receipt for the event may stand';
COMMENT ON COLUMN push_queue.actions IS 'of the push rule that matched';
COMMENT ON COLUMN push_queue.queued_at IS 'ms';

CREATE TABLE push_position (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL
);
COMMENT ON TABLE push_position IS
    'how far the log was gone through for pushers: written with what that put into push_queue';
