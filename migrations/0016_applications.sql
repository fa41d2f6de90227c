-- Applications: their tokens, webhooks in both directions, and requests that may be repeated.

-- What a request with an Idempotency-Key was answered, for 24 h.
CREATE TABLE idempotency_keys (
    owner text NOT NULL,                           -- whose key it is: a user ID, an application's ID
    key text NOT NULL,                             -- Idempotency-Key
    fingerprint bytea NOT NULL,                    -- SHA-256 of what was asked
    attempt bigint NOT NULL,                       -- drawn by the last one, which alone may finish
    begun_at bigint NOT NULL,                      -- ms; of the last attempt
    status int,                                    -- of the answer; null: not finished
    headers jsonb,                                 -- of the answer
    body bytea,                                    -- of the answer
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_begun ON idempotency_keys (begun_at);

CREATE TABLE applications (
    application_id text PRIMARY KEY,               -- app_...
    name text NOT NULL,
    user_patterns text[] NOT NULL,                 -- globs of the localparts of its users
    scopes text[] NOT NULL,                        -- the most that its tokens may have
    may_create_users boolean NOT NULL,             -- accounts are made on first sight
    bot_user_id text REFERENCES accounts,          -- who acts where no user is named
    created_at bigint NOT NULL,                    -- ms
    created_by text NOT NULL                       -- an admin's user ID, or 'command line'
);

-- Accounts that an application made; those that match its patterns are its users as well.
CREATE TABLE application_users (
    user_id text PRIMARY KEY REFERENCES accounts,
    application_id text NOT NULL REFERENCES applications ON DELETE CASCADE,
    created_at bigint NOT NULL                     -- ms
);
CREATE INDEX application_users_application ON application_users (application_id, user_id);

CREATE TABLE api_tokens (
    token_id text PRIMARY KEY,                     -- tok_...
    token_hash bytea NOT NULL UNIQUE,              -- SHA-256
    prefix text NOT NULL,                          -- its first characters, to know it by
    application_id text REFERENCES applications ON DELETE CASCADE,
    user_id text REFERENCES accounts,              -- whose personal token it is
    name text NOT NULL,
    scopes text[] NOT NULL,
    created_at bigint NOT NULL,                    -- ms
    created_by text NOT NULL,
    expires_at bigint,                             -- ms
    last_used_at bigint,                           -- ms; written now and then
    CHECK ((application_id IS NULL) <> (user_id IS NULL))
);
CREATE INDEX api_tokens_application ON api_tokens (application_id, created_at);
CREATE INDEX api_tokens_user ON api_tokens (user_id, created_at);

CREATE TABLE webhooks (
    webhook_id text PRIMARY KEY,                   -- wh_...
    application_id text REFERENCES applications ON DELETE CASCADE,
    user_id text REFERENCES accounts,              -- for whom it is, if not for an application
    url text NOT NULL,
    events text[] NOT NULL,                        -- types, such as message.created; message.*; *
    description text NOT NULL,
    secret text NOT NULL,                          -- whsec_...; signs what is sent
    previous_secret text,                          -- signs as well, until then
    previous_until bigint,                         -- ms
    concurrency int NOT NULL,                      -- requests under way at once
    state text NOT NULL,                           -- active, paused, disabled (by failures)
    reason text,                                   -- why it is disabled
    position bigint NOT NULL,                      -- of the log: what came later is not queued yet
    failures int NOT NULL DEFAULT 0,               -- in a row
    failing_since bigint,                          -- ms
    rest_until bigint,                             -- ms; nothing is sent before
    created_at bigint NOT NULL,                    -- ms
    CHECK ((application_id IS NULL) <> (user_id IS NULL))
);
CREATE INDEX webhooks_application ON webhooks (application_id, created_at);
CREATE INDEX webhooks_user ON webhooks (user_id, created_at);

-- What is to be sent, and what became of it.  No content: that is made again from the log.
CREATE TABLE webhook_deliveries (
    delivery_id text PRIMARY KEY,                  -- msg_...; the header webhook-id
    sequence bigint GENERATED ALWAYS AS IDENTITY,  -- the order of sending
    webhook_id text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    type text NOT NULL,                            -- message.created ...
    position bigint,                               -- of the log; null: not from there
    user_id text,                                  -- who is told by name
    event_id text,                                 -- of which the update is made when it is sent
    data jsonb,                                    -- the update, where it is of no event: no text
    state text NOT NULL,                           -- pending, delivered, failed, gone
    created_at bigint NOT NULL,                    -- ms
    due_at bigint,                                 -- ms; while pending: not before
    give_up_at bigint NOT NULL,                    -- ms; a failure after that is the last
    attempts int NOT NULL DEFAULT 0,
    attempted_at bigint,                           -- ms; the last time
    response_status int,                           -- of the last attempt
    latency_ms int,                                -- of the last attempt
    error text                                     -- of the last attempt
);
CREATE UNIQUE INDEX webhook_deliveries_position
    ON webhook_deliveries (webhook_id, position, type, coalesce(user_id, ''))
    WHERE position IS NOT NULL;
CREATE INDEX webhook_deliveries_sequence ON webhook_deliveries (webhook_id, sequence);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at, sequence)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (created_at) WHERE state <> 'pending';

CREATE TABLE incoming_webhooks (
    incoming_id text PRIMARY KEY,                  -- in_...
    secret_hash bytea NOT NULL UNIQUE,             -- SHA-256 of what the URL ends in
    prefix text NOT NULL,                          -- its first characters, to know it by
    room_id text NOT NULL,
    user_id text NOT NULL REFERENCES accounts,     -- as whom it writes
    application_id text REFERENCES applications ON DELETE CASCADE,  -- which made it
    label text NOT NULL,                           -- shown with its messages
    created_at bigint NOT NULL,                    -- ms
    last_used_at bigint                            -- ms; written now and then
);
CREATE INDEX incoming_webhooks_room ON incoming_webhooks (room_id, created_at);
CREATE INDEX incoming_webhooks_user ON incoming_webhooks (user_id);

-- Webhooks read what happened to requests by the log's position.
CREATE INDEX message_requests_position ON message_requests (position);
