-- Resumable uploads (tus).  What has arrived lies in a file; how much that is, the file says.

CREATE TABLE uploads (
    upload_id text PRIMARY KEY,                    -- also the media ID that it gets
    owner text NOT NULL,                           -- a local user
    length bigint,                                 -- bytes; null: not known yet
    received bigint NOT NULL DEFAULT 0,            -- bytes, as of the last request; the file knows better
    metadata text,                                 -- as its client sent it
    name text,
    content_type text,
    partial boolean NOT NULL DEFAULT false,        -- to be joined with others
    parts text[],                                  -- of what it was joined; null: of nothing
    state text NOT NULL DEFAULT 'receiving',       -- receiving, done, refused
    code text,                                     -- why it was refused: a problem's code
    reason text,                                   -- likewise, for people
    created_at bigint NOT NULL,                    -- ms
    expires_at bigint NOT NULL                     -- ms
);
CREATE INDEX uploads_owner ON uploads (owner);
CREATE INDEX uploads_expiry ON uploads (expires_at);
