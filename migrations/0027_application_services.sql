-- Application services: how far each was told what happens, and what is on its way to it.

CREATE TABLE application_services (
    appservice_id text PRIMARY KEY,                -- the registration's 'id'
    position bigint NOT NULL,                      -- of the log: all before it was told, or is in the transaction
    accepted bigint NOT NULL DEFAULT 0,            -- transactions that it took
    failing_since bigint,                          -- ms; null: it takes what it is sent
    last_success_at bigint,                        -- ms
    last_error text                                -- in words of ours; null since it last answered
);

-- The one transaction of each that was not accepted yet.  What an event says is not kept here: it is
-- read anew for each attempt, so that what was redacted or deleted meanwhile is not told.
CREATE TABLE application_service_transactions (
    appservice_id text PRIMARY KEY,
    txn_id text NOT NULL,
    event_ids text[] NOT NULL,
    to_device json NOT NULL,                       -- [user_id, device_id, position] of each message
    device_lists json,                             -- {"changed": [...], "left": [...]}; null: nothing
    created_at bigint NOT NULL                     -- ms
);

-- The rooms that application services list in the directory, by network.
-- Spec: client-server API, PUT /directory/list/appservice/{networkId}/{roomId}.
CREATE TABLE appservice_room_lists (
    appservice_id text NOT NULL,
    network_id text NOT NULL,                      -- as in third-party protocols' 'instances'
    room_id text NOT NULL,
    PRIMARY KEY (appservice_id, network_id, room_id)
);
CREATE INDEX appservice_room_lists_network ON appservice_room_lists (network_id);
CREATE INDEX appservice_room_lists_room ON appservice_room_lists (room_id);
