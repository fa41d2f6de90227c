-- Bytes are deleted without a transaction that stays open meanwhile, so that a bucket which does not answer keeps no
-- connection of the database.
ALTER TABLE media_strays ADD COLUMN deleting boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN media_strays.deleting IS
    'its bytes are being deleted, until due_at at most; then whoever did it has died';
