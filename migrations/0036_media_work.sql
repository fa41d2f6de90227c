-- Bytes are deleted without a transaction that stays open meanwhile, so that a bucket which does not answer keeps no
-- connection of the database.
ALTER TABLE media_strays ADD COLUMN deleting boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN media_strays.deleting IS
    'its bytes are being deleted, until due_at at most; then whoever did it has died';

-- Content that an admin has quarantined by its hash is not released with files that happen to have it.
ALTER TABLE quarantined_content ADD COLUMN by_hash boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN quarantined_content.by_hash IS
    'whether the content itself was named, not only a file, a user or a room';
