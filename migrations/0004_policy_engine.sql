-- The policy engine: rules on trial, an audit trail that can be read by rule and by origin, and
-- since when a user of another instance is known here.

ALTER TABLE policy_verdicts ADD COLUMN mode text NOT NULL DEFAULT 'enforce';  -- or observe: no effect
COMMENT ON COLUMN policy_verdicts.mode IS 'enforce, or observe: the rule is on trial, no effect';

-- The trail is read the newest first, whole, by rule or by origin.
DROP INDEX policy_verdicts_time;
CREATE INDEX policy_verdicts_time ON policy_verdicts (created_at, verdict_id);
CREATE INDEX policy_verdicts_rule ON policy_verdicts (rule, created_at, verdict_id);
CREATE INDEX policy_verdicts_origin ON policy_verdicts (origin, created_at, verdict_id);

-- Since when a user of another instance is known here: what stands for the age of their account.
CREATE TABLE first_seen (
    user_id text PRIMARY KEY,
    seen_at bigint NOT NULL                        -- ms
);
INSERT INTO first_seen (user_id, seen_at)
SELECT m.user_id, least(min(e.origin_server_ts), (extract(epoch FROM now()) * 1000)::bigint)
FROM memberships m JOIN events e USING (event_id) WHERE NOT m.local GROUP BY m.user_id;
