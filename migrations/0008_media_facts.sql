-- What is known of files by their content, and what content policy decided about each.

CREATE TABLE media_facts (                         -- by content: a file sent twice is known once
    sha256 bytea PRIMARY KEY,
    mime_type text NOT NULL,                       -- by content, not as claimed
    size_bytes bigint NOT NULL,
    width integer,                                 -- pixels; of images
    height integer,
    perceptual_hash bigint                         -- 64 bits, as a signed number; of images
);

CREATE TABLE media_verdicts (                      -- no row: not judged yet
    origin text NOT NULL,
    media_id text NOT NULL,
    sha256 bytea NOT NULL,                         -- the content that was judged
    policy text NOT NULL,                          -- by which rules and checks; others judge anew
    action text NOT NULL,                          -- accept, hold, strip, soft_fail, reject
    rule text NOT NULL,                            -- a rule's or a check's name; '': none matched
    reason text NOT NULL,                          -- what those who want the file are told
    uploader text,                                 -- null: of another instance
    created_at bigint NOT NULL,                    -- ms
    decided_by text,                               -- a moderator, whose word stands
    PRIMARY KEY (origin, media_id)
);
-- The queue of files that wait for a moderator.
CREATE INDEX media_verdicts_withheld ON media_verdicts (created_at)
    WHERE action IN ('hold', 'strip');
