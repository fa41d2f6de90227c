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
