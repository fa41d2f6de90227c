-- Conversations: mutes that end by themselves, and invitations that go out in the background.

CREATE TABLE timed_mutes (
    user_id text NOT NULL,
    room_id text NOT NULL,
    until bigint NOT NULL,                         -- ms; then the push rule that mutes goes
    PRIMARY KEY (user_id, room_id)
);
CREATE INDEX timed_mutes_until ON timed_mutes (until);

-- Who was asked to be in a conversation and is not invited yet, or could not be.  A row goes when
-- the invitation is out.
CREATE TABLE pending_invites (
    room_id text NOT NULL,
    user_id text NOT NULL,                         -- who is to be invited
    inviter text NOT NULL,
    is_direct boolean NOT NULL DEFAULT false,      -- the conversation is between the two
    reason text,                                   -- for the invited person to read
    created_at bigint NOT NULL,                    -- ms
    next_attempt_at bigint,                        -- ms; null: given up
    attempts int NOT NULL DEFAULT 0,
    problem text,                                  -- the code of what went wrong last
    detail text,                                   -- and its text
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX pending_invites_due ON pending_invites (next_attempt_at)
    WHERE next_attempt_at IS NOT NULL;
