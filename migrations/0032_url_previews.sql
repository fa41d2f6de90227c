-- Previews of what links lead to, for a while.  URLs are what messages say, so they are not kept.

CREATE TABLE url_previews (
    url_sha256 bytea NOT NULL,
    fetched_at bigint NOT NULL,
    host text NOT NULL,
    answer text NOT NULL,
    media_id text,
    image_bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (url_sha256, fetched_at)
);
CREATE INDEX url_previews_by_age ON url_previews (fetched_at);
CREATE INDEX url_previews_by_host ON url_previews (host);
COMMENT ON TABLE url_previews IS 'what sites said of themselves, at different times';
COMMENT ON COLUMN url_previews.fetched_at IS 'ms';
COMMENT ON COLUMN url_previews.host IS 'of the URL, so that an admin can have what it said forgotten';
COMMENT ON COLUMN url_previews.answer IS 'a JSON object: what clients are told';
COMMENT ON COLUMN url_previews.media_id IS 'the picture: media of this server without an uploader';
COMMENT ON COLUMN url_previews.image_bytes IS 'of the picture; what all have together is limited';
