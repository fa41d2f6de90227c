-- Server-side backup of room keys.

CREATE TABLE key_backup_owners (
    user_id text PRIMARY KEY,
    last_version bigint NOT NULL
);
COMMENT ON TABLE key_backup_owners IS
    'one row for each user who ever made a backup; whoever changes a backup locks it first';
COMMENT ON COLUMN key_backup_owners.last_version IS
    'of the backups that were made: a version up to here that is not stored was deleted';

CREATE TABLE key_backups (
    user_id text NOT NULL,
    version bigint NOT NULL,
    algorithm text NOT NULL,
    auth_data json NOT NULL,
    etag bigint NOT NULL DEFAULT 0,
    key_count bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, version)
);
COMMENT ON COLUMN key_backups.version IS 'the highest that is stored is the current one';
COMMENT ON COLUMN key_backups.etag IS 'counts the changes to the keys';
COMMENT ON COLUMN key_backups.key_count IS 'rows of this backup in key_backup_keys';

CREATE TABLE key_backup_keys (
    user_id text NOT NULL,
    version bigint NOT NULL,
    room_id text NOT NULL,
    session_id text NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    is_verified boolean NOT NULL,
    session_data json NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id),
    FOREIGN KEY (user_id, version) REFERENCES key_backups ON DELETE CASCADE
);
COMMENT ON COLUMN key_backup_keys.session_data IS 'encrypted by the client; nothing here can read it';
