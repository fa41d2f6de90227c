-- Who enters a device's code is shown from where, and when, it was asked for: so they can tell one
-- that somebody else has sent them.

ALTER TABLE oauth_device_codes
    ADD COLUMN ip text,
    ADD COLUMN user_agent text;
COMMENT ON COLUMN oauth_device_codes.ip IS 'from where the code was asked for';
COMMENT ON COLUMN oauth_device_codes.user_agent IS 'what the device calls its program';
