-- Browsers that are signed in to the account pages are shown to their user; and a mail's link counts
-- for the browser that has asked for it, or for who enters the code that it shows elsewhere.

ALTER TABLE account_sessions
    ADD COLUMN last_seen_at bigint,
    ADD COLUMN last_seen_ip text,
    ADD COLUMN user_agent text;
COMMENT ON COLUMN account_sessions.last_seen_at IS 'ms, to within some minutes';
COMMENT ON COLUMN account_sessions.last_seen_ip IS 'from where';
COMMENT ON COLUMN account_sessions.user_agent IS 'what the browser calls itself';

ALTER TABLE third_party_sessions
    ADD COLUMN browser_hash bytea,
    ADD COLUMN code_hash bytea,
    ADD COLUMN code_made_at bigint,
    ADD COLUMN code_tries int NOT NULL DEFAULT 0;
COMMENT ON COLUMN third_party_sessions.browser_hash IS
    'SHA-256 of the cookie of the browser that asked for the mail on our pages; null: a client did';
COMMENT ON COLUMN third_party_sessions.code_hash IS
    'of the code that is shown where the link is opened, if that is another browser; keyed with the '
    'server''s secret, since the code is short';
COMMENT ON COLUMN third_party_sessions.code_made_at IS 'ms';
COMMENT ON COLUMN third_party_sessions.code_tries IS 'how often a code was entered wrongly';
