-- The ID of a call for applications, which each of the call's events tells.
ALTER TABLE calls ADD COLUMN call_key text NOT NULL UNIQUE;
COMMENT ON COLUMN calls.call_key IS 'made of room_id and call_id: the ID of the call for applications';
COMMENT ON COLUMN calls.event_id IS 'the event that invites';
DROP INDEX calls_call;
