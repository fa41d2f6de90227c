-- Connections of sliding sync (MSC4186) that are not in memory: put away when they have been quiet
-- for a while and when the server stops, taken out when their device comes back.
CREATE TABLE sliding_connections (
    user_id text NOT NULL,
    device_id text NOT NULL,
    conn_id text NOT NULL,
    state bytea NOT NULL,
    saved_at bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, conn_id)
);
CREATE INDEX sliding_connections_age ON sliding_connections (saved_at);
COMMENT ON TABLE sliding_connections IS 'sliding sync connections that are not in memory';
COMMENT ON COLUMN sliding_connections.conn_id IS 'as the client chose it; may be empty';
COMMENT ON COLUMN sliding_connections.state IS 'JSON: what the client was told, see services/sliding/connection.py';
COMMENT ON COLUMN sliding_connections.saved_at IS 'ms';
