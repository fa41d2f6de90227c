-- Messages that are kept unshown (soft-failed, rejected) have no place in the timeline.  Retention
-- finds the old ones by this index.
CREATE INDEX events_unshown_time ON events (room_id, origin_server_ts)
    WHERE timeline_order IS NULL AND state_key IS NULL AND erased IS NULL;
