-- Accounts: mail, e-mail addresses, locking and suspension.

ALTER TABLE accounts
    ADD COLUMN locked_at bigint,                   -- ms; null: not locked
    ADD COLUMN suspended_at bigint;                -- ms; null: not suspended

CREATE INDEX accounts_restricted ON accounts (user_id)
    WHERE locked_at IS NOT NULL OR suspended_at IS NOT NULL;

-- Mail that must arrive: what is here has not been taken over by the SMTP server yet.
CREATE TABLE mail_queue (
    mail_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL,                       -- an e-mail address
    subject text NOT NULL,
    text_body text NOT NULL,
    html_body text NOT NULL,
    queued_at bigint NOT NULL,                     -- ms
    due_at bigint NOT NULL,                        -- ms: when it is tried (again)
    attempts int NOT NULL DEFAULT 0
);
CREATE INDEX mail_queue_due ON mail_queue (due_at);

-- Whose e-mail addresses are whose: one account for each.
CREATE TABLE third_party_ids (
    medium text NOT NULL,                          -- email
    address text NOT NULL,                         -- in canonical form
    user_id text NOT NULL REFERENCES accounts,
    validated_at bigint NOT NULL,                  -- ms
    added_at bigint NOT NULL,                      -- ms
    PRIMARY KEY (medium, address)
);
CREATE INDEX third_party_ids_user ON third_party_ids (user_id);

-- What was bound at identity servers through this server, to be unbound with the account.
CREATE TABLE third_party_bindings (
    user_id text NOT NULL REFERENCES accounts,
    medium text NOT NULL,
    address text NOT NULL,                         -- in canonical form
    id_server text NOT NULL,                       -- its host
    bound_at bigint NOT NULL,                      -- ms
    PRIMARY KEY (user_id, medium, address, id_server)
);

-- Validations of e-mail addresses under way.
CREATE TABLE third_party_sessions (
    sid text PRIMARY KEY,
    purpose text NOT NULL,                         -- register, password, add
    client_secret text NOT NULL,
    address text NOT NULL,                         -- in canonical form
    send_attempt bigint NOT NULL,
    token_hash bytea NOT NULL UNIQUE,              -- SHA-256 of the link's token
    next_link text,
    created_at bigint NOT NULL,                    -- ms
    validated_at bigint,                           -- ms; null: not yet
    UNIQUE (purpose, client_secret, address)
);
CREATE INDEX third_party_sessions_created ON third_party_sessions (created_at);
