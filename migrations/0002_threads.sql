-- The replies in a room's threads, the newest first: GET /rooms/{roomId}/threads.
CREATE INDEX events_threads ON events (room_id, timeline_order) WHERE relation_type = 'm.thread';
