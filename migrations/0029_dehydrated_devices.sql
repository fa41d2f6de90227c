-- Dehydrated devices (MSC3814): they receive keys while their user has no other device.

CREATE TABLE dehydrated_devices (
    user_id text NOT NULL,
    device_id text NOT NULL,
    device_data json NOT NULL,
    created_at bigint NOT NULL,
    ready boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE UNIQUE INDEX dehydrated_devices_ready ON dehydrated_devices (user_id) WHERE ready;
COMMENT ON TABLE dehydrated_devices IS 'devices without access tokens, one of each user that is ready';
COMMENT ON COLUMN dehydrated_devices.device_data IS 'encrypted by the client; nothing here can read it';
COMMENT ON COLUMN dehydrated_devices.created_at IS 'ms';
COMMENT ON COLUMN dehydrated_devices.ready IS
    'its keys are stored; what is not ready is being put there, or was replaced and is to be deleted';
