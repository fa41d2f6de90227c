-- Whoever lets a client in before they become an admin has not let it into the admin API.

ALTER TABLE oauth_sessions ADD COLUMN as_admin boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN oauth_sessions.as_admin IS
    'whether the user was an admin when they let the client in: else it is no admin''s';
