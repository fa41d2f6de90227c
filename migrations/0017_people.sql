-- People of the Conversations API: accounts that others vouch for, when somebody last proved who
-- they are, and the directory in which people are searched.

CREATE TABLE external_identities (
    provider text NOT NULL,
    subject_hash bytea NOT NULL,
    user_id text NOT NULL REFERENCES accounts (user_id),
    created_at bigint NOT NULL,
    PRIMARY KEY (provider, subject_hash),
    UNIQUE (user_id, provider)
);
COMMENT ON TABLE external_identities IS
    'which account is whose at an issuer of tokens or an OpenID Connect provider; stays when the account ends, so that it stays ended';
COMMENT ON COLUMN external_identities.provider IS 'jwt:NAME or oidc:ID, as configured';
COMMENT ON COLUMN external_identities.subject_hash IS
    'SHA-256 of the provider and the subject it uses for the person';

ALTER TABLE devices ADD COLUMN authenticated_at bigint;
COMMENT ON COLUMN devices.authenticated_at IS
    'ms; when its user last logged in with it, which a refreshed token does not change';

CREATE TABLE oidc_logins (
    state_hash bytea PRIMARY KEY,
    provider text NOT NULL,
    browser_hash bytea NOT NULL,
    nonce text NOT NULL,
    code_verifier text NOT NULL,
    redirect_uri text NOT NULL,
    trusted boolean NOT NULL,
    uia_session text,
    created_at bigint NOT NULL
);
CREATE INDEX oidc_logins_created_at ON oidc_logins (created_at);
COMMENT ON TABLE oidc_logins IS 'logins that are under way at a provider; each ends with its callback';
COMMENT ON COLUMN oidc_logins.state_hash IS 'SHA-256 of the state that the provider gives back';
COMMENT ON COLUMN oidc_logins.browser_hash IS 'SHA-256 of the cookie of the browser that began it';
COMMENT ON COLUMN oidc_logins.redirect_uri IS 'where the application is, to be given the login token';
COMMENT ON COLUMN oidc_logins.trusted IS
    'whether that place is on the list; else the person is asked before the token goes there';
COMMENT ON COLUMN oidc_logins.uia_session IS
    'the session of user-interactive authentication that it completes, in the place of a login';

CREATE TABLE people_directory (
    user_id text PRIMARY KEY,
    local boolean NOT NULL,
    name text,
    avatar_url text,
    words tsvector NOT NULL
);
CREATE INDEX people_directory_words ON people_directory USING gin (words);
COMMENT ON TABLE people_directory IS
    'names by which people are found: accounts of this instance, and who is in a room with one of them';
COMMENT ON COLUMN people_directory.name IS
    'the display name: of the profile, or of the latest member event that was seen of another instance''s user';
COMMENT ON COLUMN people_directory.words IS 'the words of the name and of the localpart, folded';

CREATE TABLE people_directory_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL DEFAULT 0,
    accounts_done boolean NOT NULL DEFAULT false
);
INSERT INTO people_directory_state DEFAULT VALUES;
COMMENT ON TABLE people_directory_state IS 'how far the directory of people has been filled';
COMMENT ON COLUMN people_directory_state.position IS
    'memberships up to this log position have been looked at';
COMMENT ON COLUMN people_directory_state.accounts_done IS
    'whether accounts older than the directory are in it';
