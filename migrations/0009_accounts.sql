-- Accounts: terms accepted, invitations, exports of one's data, deletion in full.

CREATE TABLE terms_accepted (
    user_id text NOT NULL REFERENCES accounts,
    name text NOT NULL,                            -- the document: registration.terms[].name
    version text NOT NULL,                         -- as it was presented
    accepted_at bigint NOT NULL,                   -- ms
    how text NOT NULL,                             -- registration, invitation, page
    PRIMARY KEY (user_id, name, version)
);

CREATE TABLE invitations (
    code text PRIMARY KEY,                         -- in the link; also a registration token
    inviter text NOT NULL REFERENCES accounts,
    uses_allowed int NOT NULL,
    uses_completed int NOT NULL DEFAULT 0,
    note text,                                     -- for the inviter alone
    created_at bigint NOT NULL,                    -- ms
    expires_at bigint NOT NULL,                    -- ms
    revoked_at bigint                              -- ms
);
CREATE INDEX invitations_inviter ON invitations (inviter, created_at);

-- Who came by an invitation, and whether they have been welcomed: contacts, and a chat.
CREATE TABLE invitation_uses (
    user_id text PRIMARY KEY REFERENCES accounts,  -- the newcomer
    code text NOT NULL REFERENCES invitations ON DELETE CASCADE,
    inviter text NOT NULL,
    used_at bigint NOT NULL,                       -- ms
    room_id text,                                  -- the chat of the two
    welcomed_at bigint                             -- ms; null: still to do
);
CREATE INDEX invitation_uses_code ON invitation_uses (code);
CREATE INDEX invitation_uses_pending ON invitation_uses (used_at) WHERE welcomed_at IS NULL;

CREATE TABLE exports (
    export_id text PRIMARY KEY,                    -- cannot be guessed; also the file's name
    user_id text NOT NULL REFERENCES accounts,
    state text NOT NULL,                           -- queued, running, ready, failed, expired
    requested_at bigint NOT NULL,                  -- ms
    finished_at bigint,                            -- ms
    expires_at bigint,                             -- ms; when the file is deleted
    size_bytes bigint
);
CREATE INDEX exports_user ON exports (user_id, requested_at);
CREATE UNIQUE INDEX exports_one_at_a_time ON exports (user_id) WHERE state IN ('queued', 'running');
CREATE INDEX exports_files ON exports (expires_at) WHERE state = 'ready';

-- Readers who had not seen an erased user's events by then are served them redacted.
ALTER TABLE accounts ADD COLUMN erased_position bigint;   -- the log's, at the erasure
-- What belongs to a deactivated account is being deleted; null: done, or nothing to do.
ALTER TABLE accounts ADD COLUMN deletion_since bigint;    -- ms
CREATE INDEX accounts_erased ON accounts (user_id) WHERE erased;
CREATE INDEX accounts_deletion ON accounts (deletion_since) WHERE deletion_since IS NOT NULL;

CREATE INDEX IF NOT EXISTS media_uploader ON media (uploader, media_id) WHERE uploader IS NOT NULL;
