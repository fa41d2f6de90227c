-- Bytes of media that may be in storage although no medium has them: an upload notes its content here before it
-- gives it its place, and forgets the note once it is a medium; a deletion notes what it leaves.  Whoever is the last
-- to let go of a content deletes its bytes, also after a crash.
CREATE TABLE media_strays (
    stray_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 bytea NOT NULL,                         -- of the content, as in "media"
    due_at bigint NOT NULL                         -- ms; from then on its bytes are deleted, unless something has them
);
CREATE INDEX media_strays_sha256 ON media_strays (sha256);
CREATE INDEX media_strays_due ON media_strays (due_at);
