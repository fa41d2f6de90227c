-- When a provider is asked for a fresh proof of who somebody is, what it says of that is looked at.

ALTER TABLE oidc_logins ADD COLUMN again boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN oidc_logins.again IS
    'whether the provider was asked for a proof also of who is logged in there';

ALTER TABLE login_tokens ADD COLUMN authenticated_at bigint;
COMMENT ON COLUMN login_tokens.authenticated_at IS
    'ms; when the user last proved who they are, at a provider; null: not known';
