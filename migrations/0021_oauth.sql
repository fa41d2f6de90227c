-- The OAuth 2.0 API: clients, what users let them do, and the browsers that are signed in to the
-- account pages.  Codes, tokens and cookies are stored as hashes alone.

CREATE TABLE oauth_clients (
    client_id text PRIMARY KEY,
    metadata jsonb NOT NULL,
    metadata_hash bytea NOT NULL UNIQUE,
    created_at bigint NOT NULL
);
COMMENT ON TABLE oauth_clients IS
    'applications that have registered themselves (RFC 7591); those without sessions go after a while';
COMMENT ON COLUMN oauth_clients.metadata IS 'what was registered, and nothing else';
COMMENT ON COLUMN oauth_clients.metadata_hash IS
    'SHA-256 of the metadata: the same metadata are one client, whoever registers them';
COMMENT ON COLUMN oauth_clients.created_at IS 'ms; the last registration';

CREATE TABLE oauth_sessions (
    user_id text NOT NULL,
    device_id text NOT NULL,
    client_id text NOT NULL REFERENCES oauth_clients,
    grant_id text NOT NULL,
    scope text NOT NULL,
    family bytea NOT NULL UNIQUE,
    generation int NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX oauth_sessions_client ON oauth_sessions (client_id);
CREATE INDEX oauth_sessions_grant ON oauth_sessions (grant_id);
COMMENT ON TABLE oauth_sessions IS
    'devices that were logged in by the OAuth 2.0 API; a device without a row was by the legacy API';
COMMENT ON COLUMN oauth_sessions.grant_id IS
    'the authorization whose code, or device code, it was made with';
COMMENT ON COLUMN oauth_sessions.family IS 'what all its refresh tokens have in them';
COMMENT ON COLUMN oauth_sessions.generation IS
    'how often it was refreshed; an older refresh token that is used again was stolen';
COMMENT ON COLUMN oauth_sessions.created_at IS 'ms';

CREATE TABLE oauth_authorizations (
    grant_id text PRIMARY KEY,
    client_id text NOT NULL REFERENCES oauth_clients,
    redirect_uri text NOT NULL,
    response_mode text NOT NULL,
    scope text NOT NULL,
    state text,
    nonce text,
    code_challenge text NOT NULL,
    created_at bigint NOT NULL,
    user_id text REFERENCES accounts,
    code_hash bytea UNIQUE,
    code_expires_at bigint,
    used_at bigint
);
CREATE INDEX oauth_authorizations_created ON oauth_authorizations (created_at);
CREATE INDEX oauth_authorizations_client ON oauth_authorizations (client_id);
COMMENT ON TABLE oauth_authorizations IS
    'authorization requests: asked, then granted (with a code), then used; a refused one is deleted';
COMMENT ON COLUMN oauth_authorizations.state IS 'the client''s, given back to it unchanged';
COMMENT ON COLUMN oauth_authorizations.nonce IS
    'the client''s, given back to it in its ID token (OpenID Connect)';
COMMENT ON COLUMN oauth_authorizations.code_challenge IS 'PKCE, S256';
COMMENT ON COLUMN oauth_authorizations.user_id IS 'who has granted it';
COMMENT ON COLUMN oauth_authorizations.code_hash IS 'SHA-256 of the code';
COMMENT ON COLUMN oauth_authorizations.used_at IS
    'ms; when the code was presented: a second time ends what the first has begun';

CREATE TABLE oauth_device_codes (
    grant_id text PRIMARY KEY,
    client_id text NOT NULL REFERENCES oauth_clients,
    scope text NOT NULL,
    device_code_hash bytea NOT NULL UNIQUE,
    user_code_hash bytea NOT NULL UNIQUE,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    interval_seconds int NOT NULL,
    polled_at bigint,
    user_id text REFERENCES accounts,
    granted boolean
);
CREATE INDEX oauth_device_codes_expires ON oauth_device_codes (expires_at);
CREATE INDEX oauth_device_codes_client ON oauth_device_codes (client_id);
COMMENT ON TABLE oauth_device_codes IS
    'device authorizations (RFC 8628) that wait for their user, or for their client';
COMMENT ON COLUMN oauth_device_codes.device_code_hash IS 'SHA-256';
COMMENT ON COLUMN oauth_device_codes.user_code_hash IS
    'keyed with the server''s secret, since the code is short';
COMMENT ON COLUMN oauth_device_codes.interval_seconds IS
    'how long the client has to wait between two questions';
COMMENT ON COLUMN oauth_device_codes.granted IS 'the user''s answer; null: none yet';

CREATE TABLE account_sessions (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES accounts,
    created_at bigint NOT NULL,
    authenticated_at bigint NOT NULL
);
CREATE INDEX account_sessions_user ON account_sessions (user_id);
CREATE INDEX account_sessions_created ON account_sessions (created_at);
COMMENT ON TABLE account_sessions IS 'browsers that are signed in to the account pages';
COMMENT ON COLUMN account_sessions.token_hash IS 'SHA-256 of the browser''s cookie';
COMMENT ON COLUMN account_sessions.authenticated_at IS
    'ms; when the user last proved who they are, which some things require to be lately';

CREATE TABLE oauth_approvals (
    user_id text NOT NULL REFERENCES accounts,
    device_id text NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
COMMENT ON TABLE oauth_approvals IS
    'that a user lets a device reset their cross-signing keys, once (m.oauth)';
COMMENT ON COLUMN oauth_approvals.device_id IS 'empty: any device of the user that uses OAuth';

CREATE TABLE oauth_signing_keys (
    key_id text PRIMARY KEY,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL
);
COMMENT ON TABLE oauth_signing_keys IS 'with which ID tokens are signed, for clients that want one';
COMMENT ON COLUMN oauth_signing_keys.sealed IS
    'the private key (JWK), encrypted with a key that is made of the server''s signing key';
COMMENT ON COLUMN oauth_signing_keys.created_at IS 'ms';
