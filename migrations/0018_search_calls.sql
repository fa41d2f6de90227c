-- Full text search in messages, and calls.

CREATE TABLE message_index (
    event_id text PRIMARY KEY,
    source_id text,
    room_id text NOT NULL,
    timeline_order bigint NOT NULL,
    sent_at bigint NOT NULL,
    kind text NOT NULL,
    words tsvector NOT NULL,
    stale boolean NOT NULL DEFAULT false
);
-- No pending list: a search looks into the index once for each of its rooms.
CREATE INDEX message_index_words ON message_index USING gin (words) WITH (fastupdate = off);
CREATE INDEX message_index_room ON message_index (room_id, sent_at, event_id);
CREATE INDEX message_index_source ON message_index (source_id) WHERE source_id IS NOT NULL;
CREATE INDEX message_index_stale ON message_index (event_id) WHERE stale;
COMMENT ON TABLE message_index IS
    'words by which messages are found; filled by a follower of the log. What is redacted or erased leaves it in the same transaction';
COMMENT ON COLUMN message_index.source_id IS 'the edit whose words these are; null: those of the message itself';
COMMENT ON COLUMN message_index.sent_at IS 'ms; as its sender says, but no later than when it was indexed';
COMMENT ON COLUMN message_index.kind IS 'of the message (text, image ...); name, topic: of the conversation';
COMMENT ON COLUMN message_index.words IS
    'folded words with their places; sender and kind; each with a mark of the room before it, so that a search reads nothing of other rooms';
COMMENT ON COLUMN message_index.stale IS 'an edit was taken back: what the message says now is to be indexed';

CREATE TABLE message_index_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL DEFAULT 0
);
INSERT INTO message_index_state DEFAULT VALUES;
COMMENT ON COLUMN message_index_state.position IS 'events up to this log position have been looked at';

CREATE TABLE calls (
    event_id text PRIMARY KEY,
    room_id text NOT NULL,
    call_id text NOT NULL,
    caller text NOT NULL,
    party_id text NOT NULL,
    invitee text,
    media text NOT NULL,
    started_at bigint NOT NULL,
    rings_until bigint NOT NULL,
    position bigint NOT NULL,
    managed boolean NOT NULL,
    answered_at bigint,
    answered_by text,
    answered_party text,
    answer_id text,
    ended_at bigint,
    ended_by text,
    outcome text
);
CREATE INDEX calls_room ON calls (room_id, started_at, event_id);
CREATE INDEX calls_call ON calls (room_id, call_id);
CREATE INDEX calls_ringing ON calls (rings_until) WHERE managed AND ended_at IS NULL
    AND answered_at IS NULL;
COMMENT ON TABLE calls IS 'calls between people, written in the transaction of their events';
COMMENT ON COLUMN calls.event_id IS 'the event that invites: the ID of the call for applications';
COMMENT ON COLUMN calls.call_id IS 'as the caller''s client named it';
COMMENT ON COLUMN calls.party_id IS 'the caller''s device in the call; empty in version 0';
COMMENT ON COLUMN calls.invitee IS 'who is called; null: anybody in the room';
COMMENT ON COLUMN calls.started_at IS 'ms';
COMMENT ON COLUMN calls.rings_until IS 'ms; unanswered by then, it was missed';
COMMENT ON COLUMN calls.position IS 'of its last change in the log';
COMMENT ON COLUMN calls.managed IS
    'made through the Conversations API: this instance chooses the answer and ends the ringing';
COMMENT ON COLUMN calls.answered_at IS 'ms';
COMMENT ON COLUMN calls.answer_id IS 'the event that answers';
COMMENT ON COLUMN calls.ended_at IS 'ms';
COMMENT ON COLUMN calls.outcome IS 'declined, or the reason with which it was ended';
