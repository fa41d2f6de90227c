-- How much each user may upload, and has uploaded; what nobody may have, by its address and by its
-- content; which copies of other servers' files were used least recently.

CREATE TABLE media_usage (                         -- counted with each upload and deletion
    user_id text PRIMARY KEY,
    files bigint NOT NULL,
    bytes bigint NOT NULL
);
INSERT INTO media_usage (user_id, files, bytes)
SELECT uploader, count(*), sum(size_bytes) FROM media WHERE uploader IS NOT NULL GROUP BY uploader;

CREATE TABLE media_limits (                        -- of users for whom the configuration's do not hold
    user_id text PRIMARY KEY,
    quota_bytes bigint,                            -- null: as configured; -1: any number; so the others
    max_files bigint,
    max_upload_bytes bigint,
    changed_by text NOT NULL,                      -- an admin
    changed_at bigint NOT NULL                     -- ms
);

CREATE INDEX media_pending_expiry ON media_pending (expires_at);

-- Copies of other servers' files, those first that nobody has used for longest.
UPDATE media SET last_access_at = created_at WHERE last_access_at IS NULL;
CREATE INDEX media_remote_use ON media (last_access_at) INCLUDE (origin, media_id, size_bytes)
    WHERE uploader IS NULL AND quarantined_by IS NULL;

CREATE TABLE quarantined_content (                 -- whoever sends it, and wherever it comes from
    sha256 bytea PRIMARY KEY,
    quarantined_by text NOT NULL,                  -- an admin
    quarantined_at bigint NOT NULL                 -- ms
);

CREATE TABLE quarantined_uris (                    -- files that are not here, and must not come
    origin text NOT NULL,
    media_id text NOT NULL,
    quarantined_by text NOT NULL,                  -- an admin
    quarantined_at bigint NOT NULL,                -- ms
    PRIMARY KEY (origin, media_id)
);

ALTER TABLE media ADD COLUMN protected_by text;
COMMENT ON COLUMN media.protected_by IS
    'an admin: not quarantined with all files of a user or a room';
