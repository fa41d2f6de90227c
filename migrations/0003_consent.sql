-- Consent in full: the present state beside the history, contacts, message requests; which events
-- refer to which media.

ALTER TABLE consent ADD COLUMN actor text;         -- who made the change; null: the owner
-- Whether the peer's instance has still to be told, where the peer is of another instance.
ALTER TABLE consent ADD COLUMN unannounced boolean NOT NULL DEFAULT false;
CREATE INDEX consent_unannounced ON consent (position) WHERE unannounced;
CREATE INDEX consent_history ON consent (owner, position DESC);

-- What the latest row of each kind says.  The history stays in "consent".
CREATE TABLE consent_current (
    owner text NOT NULL,                           -- a local user
    scope text NOT NULL,                           -- message, group, media, call, presence, ...
    peer text NOT NULL,                            -- a user ID, a server name, '*', or 'tier:stranger'
    state text NOT NULL,                           -- asked, granted, denied, revoked; cleared: no row
    expires_at bigint,                             -- ms
    PRIMARY KEY (owner, scope, peer)
);
INSERT INTO consent_current (owner, scope, peer, state, expires_at)
SELECT DISTINCT ON (owner, scope, peer) owner, scope, peer, state, expires_at FROM consent
ORDER BY owner, scope, peer, position DESC;
-- Who has a contact: for "a contact of a contact".
CREATE INDEX consent_contacts ON consent_current (peer, owner)
    WHERE scope = 'message' AND state = 'granted' AND peer LIKE '@%';
-- Who restricts what most people leave open: read once, at the start.
CREATE INDEX consent_restricting ON consent_current (scope, owner)
    WHERE scope IN ('presence', 'typing', 'receipts');

-- A user's own defaults become rows of consent like all others: one for each tier of people.
INSERT INTO consent (position, owner, peer, scope, state, how, created_at)
SELECT take_positions(1), d.owner, 'tier:' || t.tier, d.scope,
    CASE
        WHEN d.default_answer = 'everyone' THEN 'granted'
        WHEN d.default_answer = 'nobody' THEN 'denied'
        WHEN d.default_answer = 'known' AND t.tier = 'shared_room' THEN 'granted'
        ELSE 'asked'
    END,
    'migration', (extract(epoch FROM now()) * 1000)::bigint
FROM consent_defaults d CROSS JOIN
    (VALUES ('shared_room'), ('contact_of_contact'), ('known_server'), ('stranger')) AS t (tier)
WHERE d.scope = 'message';
INSERT INTO consent_current (owner, scope, peer, state)
SELECT owner, scope, peer, state FROM consent WHERE how = 'migration'
ON CONFLICT DO NOTHING;
DROP TABLE consent_defaults;

-- Strangers who wait for an answer: one row per sender, however often they try.
CREATE TABLE message_requests (
    owner text NOT NULL,                           -- a local user
    sender text NOT NULL,
    server text NOT NULL,                          -- the sender's instance
    scope text NOT NULL,                           -- message or group
    room_id text NOT NULL,                         -- the first room that they invited to
    state text NOT NULL,                           -- pending, accepted, declined, blocked, expired
    attempts integer NOT NULL,
    created_at bigint NOT NULL,                    -- ms
    updated_at bigint NOT NULL,                    -- ms
    expires_at bigint NOT NULL,                    -- ms
    reported boolean NOT NULL DEFAULT false,
    position bigint NOT NULL,                      -- of the last change: what a sync has to report
    PRIMARY KEY (owner, sender)
);
CREATE INDEX message_requests_pending ON message_requests (owner, created_at)
    WHERE state = 'pending';
CREATE INDEX message_requests_expiry ON message_requests (expires_at) WHERE state = 'pending';

-- What other Comity instances said of their users' consent, so that ours are told before they send.
CREATE TABLE peer_consent (
    peer text NOT NULL,                            -- a user of another instance
    user_id text NOT NULL,                         -- ours
    scope text NOT NULL,
    state text NOT NULL,                           -- granted, not_given
    updated_at bigint NOT NULL,                    -- ms
    PRIMARY KEY (user_id, peer, scope)
);

-- Which messages refer to which media: whose it is, and when nothing needs it any more.
CREATE TABLE media_references (
    origin text NOT NULL,
    media_id text NOT NULL,
    event_id text NOT NULL,
    room_id text NOT NULL,
    sender text NOT NULL,
    PRIMARY KEY (origin, media_id, event_id)
);
CREATE INDEX media_references_event ON media_references (event_id);
