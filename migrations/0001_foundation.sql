-- The foundation: the log, rooms, events and state, accounts, delivery, consent, policy.
-- Every row that a client or a peer can notice bears `position`, taken from log_position inside
-- the transaction that writes it, under one advisory lock (homeserver/storage/log.py).

CREATE SEQUENCE log_position;        -- the one log: position order is commit order
CREATE SEQUENCE backfill_order;      -- negated: orders history that arrives from other instances
CREATE SEQUENCE snapshot_ids INCREMENT 1000;  -- state snapshots, handed out in memory by the block

-- Takes `wanted` consecutive positions and returns the first. The advisory lock is held until the
-- transaction ends, so positions become visible in their order, whatever process took them.
CREATE FUNCTION take_positions(wanted bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(5497171);
    first := nextval('log_position');
    PERFORM setval('log_position', first + wanted - 1);
    RETURN first;
END
$$;

-- ---------------------------------------------------------------- rooms, events, state

CREATE TABLE rooms (
    room_id text PRIMARY KEY,
    room_version text NOT NULL,
    revision bigint NOT NULL DEFAULT 0,            -- moves with every commit; guards the live room
    forward_extremities text[] NOT NULL DEFAULT '{}',
    snapshot_id bigint,                            -- the current state, forks resolved
    published boolean NOT NULL DEFAULT false,      -- listed in the public directory
    created_at bigint NOT NULL                     -- ms
);
CREATE INDEX rooms_published ON rooms (room_id) WHERE published;

CREATE TABLE state_snapshots (
    snapshot_id bigint PRIMARY KEY,
    room_id text NOT NULL,
    parent_id bigint,                              -- null: a full snapshot
    chain_length int NOT NULL DEFAULT 0            -- how many parents to read
);
CREATE INDEX state_snapshots_room ON state_snapshots (room_id);

CREATE TABLE state_entries (
    snapshot_id bigint NOT NULL,
    type text NOT NULL,
    state_key text NOT NULL,
    event_id text NOT NULL,
    PRIMARY KEY (snapshot_id, type, state_key)
);

CREATE TABLE events (
    event_id text PRIMARY KEY,
    position bigint NOT NULL UNIQUE,               -- when it was written here
    room_id text NOT NULL,
    timeline_order bigint,                         -- live: = position; backfilled: negative; outlier: null
    type text NOT NULL,
    state_key text,
    sender text NOT NULL,
    depth bigint NOT NULL,
    origin_server_ts bigint NOT NULL,              -- ms
    auth_event_ids text[] NOT NULL,
    prev_event_ids text[] NOT NULL,
    snapshot_before bigint,                        -- the state it was sent in
    snapshot_after bigint,                         -- the same, for a message
    rejected text,                                 -- why the auth rules refused it
    soft_failed boolean NOT NULL DEFAULT false,    -- kept, never shown
    withheld text,                                 -- hidden by content policy: the rule's name
    redacted_by text,                              -- the event that redacted it
    relates_to text,                               -- m.relates_to.event_id
    relation_type text,                            -- m.relates_to.rel_type
    destination_set bigint,                        -- who it is for, when it is ours to send
    pdu bytea NOT NULL                             -- JSON of the PDU
);
CREATE INDEX events_timeline ON events (room_id, timeline_order) WHERE timeline_order IS NOT NULL;
CREATE INDEX events_relations ON events (relates_to, relation_type) WHERE relates_to IS NOT NULL;
CREATE INDEX events_destination ON events (destination_set, position)
    WHERE destination_set IS NOT NULL;
CREATE INDEX events_state ON events (room_id, type, state_key) WHERE state_key IS NOT NULL;
CREATE INDEX events_room_time ON events (room_id, origin_server_ts) WHERE timeline_order IS NOT NULL;

-- Prev events that we do not have: where history must be fetched from other instances.
CREATE TABLE backward_extremities (
    room_id text NOT NULL,
    event_id text NOT NULL,                        -- the one that is missing
    successor_id text NOT NULL,                    -- one that we have and that cites it
    PRIMARY KEY (room_id, event_id, successor_id)
);

-- Redactions of events that have not arrived yet, or of which we do not know.
CREATE TABLE pending_redactions (
    redacted_event_id text NOT NULL,
    redaction_event_id text NOT NULL,
    room_id text NOT NULL,
    PRIMARY KEY (redacted_event_id, redaction_event_id)
);

-- The current membership of every member, local and remote: one row per (room, user).
CREATE TABLE memberships (
    room_id text NOT NULL,
    user_id text NOT NULL,
    membership text NOT NULL,
    event_id text NOT NULL,
    sender text NOT NULL,                          -- who caused it
    position bigint NOT NULL,                      -- when it changed last
    local boolean NOT NULL,                        -- an account of this instance
    forgotten boolean NOT NULL DEFAULT false,
    stripped_state json,                          -- what an invited or knocking user may see
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, membership);
CREATE INDEX memberships_position ON memberships (position);
CREATE INDEX memberships_local ON memberships (room_id) WHERE local AND membership = 'join';

-- A local user's joins, leaves, invites and so on, in order: what a sync has to report.
CREATE TABLE membership_changes (
    position bigint NOT NULL,
    user_id text NOT NULL,
    room_id text NOT NULL,
    membership text NOT NULL,
    event_id text NOT NULL,
    PRIMARY KEY (user_id, position, room_id)
);
CREATE INDEX membership_changes_room ON membership_changes (room_id, user_id, position);

CREATE TABLE room_aliases (
    alias text PRIMARY KEY,
    room_id text NOT NULL,
    creator text NOT NULL
);
CREATE INDEX room_aliases_room ON room_aliases (room_id);

-- A client's transaction IDs: the same request again gets the same event.
CREATE TABLE client_transactions (
    user_id text NOT NULL,
    device_id text NOT NULL,
    path text NOT NULL,                            -- which endpoint and room
    txn_id text NOT NULL,
    event_id text NOT NULL,
    created_at bigint NOT NULL,                    -- ms
    PRIMARY KEY (user_id, device_id, path, txn_id)
);
CREATE INDEX client_transactions_age ON client_transactions (created_at);
CREATE INDEX client_transactions_event ON client_transactions (event_id);

-- Unread counting: one row per event and *distinct* ruleset that it notifies, and one per user
-- whom it mentions or who has rules of their own. Never one per reader.
CREATE TABLE notifications (
    room_id text NOT NULL,
    audience text NOT NULL,                        -- a user ID, or a ruleset's name ('default')
    position bigint NOT NULL,
    event_id text NOT NULL,
    sender text NOT NULL,
    thread_id text NOT NULL,                       -- 'main' or the thread root's ID
    highlight boolean NOT NULL,
    PRIMARY KEY (room_id, audience, position)
);

-- ---------------------------------------------------------------- accounts

CREATE TABLE accounts (
    user_id text PRIMARY KEY,
    password_hash text,                            -- argon2id; null: no password login
    admin boolean NOT NULL DEFAULT false,
    guest boolean NOT NULL DEFAULT false,
    created_at bigint NOT NULL,                    -- ms
    deactivated_at bigint,                         -- ms
    erased boolean NOT NULL DEFAULT false
);

CREATE TABLE devices (
    user_id text NOT NULL REFERENCES accounts,
    device_id text NOT NULL,
    display_name text,
    created_at bigint NOT NULL,                    -- ms
    last_seen_at bigint,                           -- ms
    last_seen_ip text,
    user_agent text,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE access_tokens (
    token_hash bytea PRIMARY KEY,                  -- SHA-256; the token itself is never stored
    user_id text NOT NULL REFERENCES accounts,
    device_id text,
    created_at bigint NOT NULL,                    -- ms
    expires_at bigint,                             -- ms
    refresh_token_hash bytea                       -- the refresh token given out with it
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_refresh ON access_tokens (refresh_token_hash)
    WHERE refresh_token_hash IS NOT NULL;

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,                  -- SHA-256
    user_id text NOT NULL REFERENCES accounts,
    device_id text NOT NULL,
    created_at bigint NOT NULL,                    -- ms
    next_token_hash bytea                          -- once used: its successor
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);

CREATE TABLE login_tokens (                        -- m.login.token, short-lived, used once
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES accounts,
    expires_at bigint NOT NULL                     -- ms
);

CREATE TABLE registration_tokens (
    token text PRIMARY KEY,
    uses_allowed int,                              -- null: any number
    uses_completed int NOT NULL DEFAULT 0,
    expires_at bigint,                             -- ms
    created_at bigint NOT NULL                     -- ms
);

CREATE TABLE uia_sessions (                        -- user-interactive authentication under way
    session_id text PRIMARY KEY,
    operation text NOT NULL,                       -- method and path it was begun for
    request_hash bytea,
    user_id text,
    completed jsonb NOT NULL DEFAULT '{}',         -- stage -> what it yielded
    created_at bigint NOT NULL                     -- ms
);
CREATE INDEX uia_sessions_age ON uia_sessions (created_at);

CREATE TABLE profiles (
    user_id text PRIMARY KEY,
    fields jsonb NOT NULL DEFAULT '{}'             -- displayname, avatar_url, any other
);

CREATE TABLE account_data (
    user_id text NOT NULL,
    room_id text NOT NULL,                         -- '' for the account's own
    type text NOT NULL,
    content json NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_position ON account_data (user_id, position);
CREATE INDEX account_data_push_rules ON account_data (user_id) WHERE type = 'm.push_rules';

CREATE TABLE filters (
    user_id text NOT NULL,
    filter_id bigint NOT NULL,
    definition json NOT NULL,
    definition_hash bytea NOT NULL,                -- SHA-256 of the canonical JSON
    PRIMARY KEY (user_id, filter_id),
    UNIQUE (user_id, definition_hash)
);

CREATE TABLE receipts (
    room_id text NOT NULL,
    receipt_type text NOT NULL,
    user_id text NOT NULL,
    thread_id text NOT NULL,                       -- '' unthreaded, 'main', or a thread root
    event_id text NOT NULL,
    event_order bigint,                            -- that event's timeline_order, if known
    ts bigint NOT NULL,                            -- ms
    position bigint NOT NULL,
    PRIMARY KEY (room_id, receipt_type, user_id, thread_id)
);
CREATE INDEX receipts_position ON receipts (room_id, position);

CREATE TABLE presence (
    user_id text PRIMARY KEY,
    presence text NOT NULL,
    status_msg text,
    last_active_at bigint NOT NULL                 -- ms
);

-- ---------------------------------------------------------------- devices and their keys

CREATE TABLE to_device_messages (
    position bigint NOT NULL,
    user_id text NOT NULL,
    device_id text NOT NULL,
    sender text NOT NULL,
    type text NOT NULL,
    content json NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
);

CREATE TABLE to_device_seen (                      -- message IDs from peers, so that none comes twice
    origin text NOT NULL,
    message_id text NOT NULL,
    received_at bigint NOT NULL,                   -- ms
    PRIMARY KEY (origin, message_id)
);
CREATE INDEX to_device_seen_age ON to_device_seen (received_at);

CREATE TABLE device_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    keys json NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE one_time_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key json NOT NULL,
    uploaded bigint NOT NULL DEFAULT 0,            -- order of upload: the oldest is claimed first
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);

CREATE TABLE claimed_keys (                        -- so that an upload repeated does not revive them
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key json NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);

CREATE TABLE fallback_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key json NOT NULL,
    used boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm)
);

CREATE TABLE cross_signing_keys (
    user_id text NOT NULL,
    usage text NOT NULL,                           -- master, self_signing, user_signing
    key json NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, usage)
);

CREATE TABLE key_signatures (                      -- signatures uploaded for others' keys and devices
    signer text NOT NULL,
    target_user_id text NOT NULL,
    target_key text NOT NULL,                      -- device ID, or a cross-signing public key
    signatures json NOT NULL,                     -- key ID -> signature
    PRIMARY KEY (signer, target_user_id, target_key)
);

CREATE TABLE device_list_changes (
    position bigint NOT NULL,                      -- a device's: also the EDU's stream_id
    user_id text NOT NULL,
    device_id text,                                -- null: the cross-signing keys
    visible_to text,                               -- null: all who share a room with the user
    PRIMARY KEY (user_id, position)
);
CREATE INDEX device_list_changes_position ON device_list_changes (position);

CREATE TABLE remote_device_lists (                 -- other instances' users whose devices we track
    user_id text PRIMARY KEY,
    stream_id bigint,
    stale boolean NOT NULL DEFAULT false,
    fetched_at bigint                              -- ms
);
CREATE INDEX remote_device_lists_stale ON remote_device_lists (user_id) WHERE stale;

-- ---------------------------------------------------------------- media

CREATE TABLE media (
    origin text NOT NULL,
    media_id text NOT NULL,
    uploader text,                                 -- null: of another instance
    content_type text NOT NULL,
    upload_name text,
    size_bytes bigint NOT NULL,
    sha256 bytea NOT NULL,                         -- where the file lies
    created_at bigint NOT NULL,                    -- ms
    last_access_at bigint,                         -- ms
    quarantined_by text,
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX media_hash ON media (sha256);

CREATE TABLE media_pending (                       -- IDs given out before their upload
    media_id text PRIMARY KEY,
    uploader text NOT NULL,
    expires_at bigint NOT NULL                     -- ms
);
CREATE INDEX media_pending_uploader ON media_pending (uploader);

-- ---------------------------------------------------------------- other instances

CREATE TABLE destination_sets (                    -- distinct sets of receiving instances
    set_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    servers text[] NOT NULL,                       -- sorted
    servers_hash bytea NOT NULL UNIQUE             -- SHA-256: thousands of names fit no index row
);
CREATE INDEX destination_sets_servers ON destination_sets USING gin (servers);

CREATE TABLE destinations (
    server_name text PRIMARY KEY,
    acked_position bigint NOT NULL DEFAULT 0,      -- every event for it up to here has arrived
    edu_position bigint NOT NULL DEFAULT 0,        -- likewise receipts
    failing_since bigint,                          -- ms; null: it answers
    retry_at bigint,                               -- ms
    retry_interval_ms bigint NOT NULL DEFAULT 0,
    last_success_at bigint                         -- ms
);

CREATE TABLE outbox_edus (                         -- what must arrive and is not an event
    edu_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    destination text NOT NULL,
    edu_type text NOT NULL,
    coalesce_key text,                             -- a later one of this key replaces it
    content json NOT NULL,
    UNIQUE (destination, edu_type, coalesce_key)
);
CREATE INDEX outbox_edus_destination ON outbox_edus (destination, edu_id);

CREATE TABLE inbox (                               -- PDUs acknowledged to their sender, not yet handled
    inbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL,
    room_id text NOT NULL,
    event_id text NOT NULL,
    pdu bytea NOT NULL,
    received_at bigint NOT NULL,                   -- ms
    UNIQUE (event_id, origin)
);
CREATE INDEX inbox_room ON inbox (room_id, inbox_id);

CREATE TABLE inbox_transactions (                  -- answers given, for a transaction sent again
    origin text NOT NULL,
    txn_id text NOT NULL,
    response json NOT NULL,
    received_at bigint NOT NULL,                   -- ms
    PRIMARY KEY (origin, txn_id)
);
CREATE INDEX inbox_transactions_age ON inbox_transactions (received_at);

CREATE TABLE server_keys (
    server_name text NOT NULL,
    key_id text NOT NULL,
    verify_key bytea NOT NULL,
    valid_until_ts bigint NOT NULL,                -- ms
    expired_ts bigint,                             -- ms; an old key, valid until then
    fetched_at bigint NOT NULL,                    -- ms
    response json,                                -- the signed answer, for a notary to pass on
    PRIMARY KEY (server_name, key_id)
);

-- ---------------------------------------------------------------- consent and policy

CREATE TABLE consent (                             -- never overwritten: the latest row counts
    position bigint PRIMARY KEY,
    owner text NOT NULL,                           -- a local user
    peer text NOT NULL,                            -- a user ID, a server name, or '*'
    scope text NOT NULL,                           -- message, federation, ...
    state text NOT NULL,                           -- asked, granted, denied, revoked
    how text NOT NULL,                             -- client, page, accepted invite, wrote first, admin
    created_at bigint NOT NULL,                    -- ms
    expires_at bigint                              -- ms
);
CREATE INDEX consent_owner ON consent (owner, scope, peer, position DESC);

CREATE TABLE consent_defaults (
    owner text NOT NULL,
    scope text NOT NULL,
    default_answer text NOT NULL,                  -- everyone, known, ask, nobody
    PRIMARY KEY (owner, scope)
);

CREATE TABLE policy_verdicts (                     -- the audit trail: every verdict but "accepted"
    verdict_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at bigint NOT NULL,                    -- ms
    stage text NOT NULL,                           -- server, content, consent, soft_fail, auth
    rule text NOT NULL,
    action text NOT NULL,                          -- flag, soft_fail, reject, asked, withheld
    direction text NOT NULL,                       -- in, out, local
    origin text NOT NULL,
    room_id text,
    event_id text,
    event_type text,
    sender text,
    reason text
);
CREATE INDEX policy_verdicts_time ON policy_verdicts (created_at);
