-- Administration: what admins did, jobs in the background, blocked rooms, figures about rooms.

-- What admins changed.  The row is written before the deed, and completed after it.
CREATE TABLE admin_audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at bigint NOT NULL,                    -- ms
    actor text NOT NULL,                           -- an admin's user ID, or "command line"
    action text NOT NULL,                          -- the operation's name
    target text NOT NULL,                          -- the path, below the API's prefix
    details json NOT NULL,                         -- the body, without secrets; {} where it is not kept
    status int                                     -- the answer's HTTP status; null: it never ended
);
CREATE INDEX admin_audit_actor ON admin_audit (actor, audit_id);
CREATE INDEX admin_audit_action ON admin_audit (action, audit_id);
CREATE INDEX admin_audit_age ON admin_audit (created_at);

-- Work of admins that takes long: done in small steps, and gone on with after a restart.
CREATE TABLE admin_jobs (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                            -- purge_history, delete_room, delete_media, ...
    subject text NOT NULL,                         -- the room, the user, or '' for all
    parameters json NOT NULL,
    state text NOT NULL DEFAULT 'waiting',         -- waiting, running, done, failed, cancelled
    phase text NOT NULL DEFAULT '',                -- what of the job is being done
    cursor json,                                   -- where the phase has come to
    done bigint NOT NULL DEFAULT 0,                -- how many things were dealt with
    attempts int NOT NULL DEFAULT 0,               -- how often a step has failed in a row
    error text,                                    -- why it failed last
    created_by text NOT NULL,
    created_at bigint NOT NULL,                    -- ms
    due_at bigint NOT NULL,                        -- ms: the next step
    finished_at bigint                             -- ms
);
CREATE INDEX admin_jobs_due ON admin_jobs (due_at, job_id) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX admin_jobs_subject ON admin_jobs (kind, subject) WHERE finished_at IS NULL;

-- Rooms that no local user may come to.
CREATE TABLE blocked_rooms (
    room_id text PRIMARY KEY,
    reason text NOT NULL,
    blocked_by text NOT NULL,
    blocked_at bigint NOT NULL                     -- ms
);

-- How large rooms are, and what they are called: counted when an admin asks, for rooms that changed.
CREATE TABLE room_figures (
    room_id text PRIMARY KEY,
    revision bigint NOT NULL,                      -- the room's, when it was counted
    name text NOT NULL,                            -- '' without one
    members bigint NOT NULL,                       -- joined
    local_members bigint NOT NULL,
    events bigint NOT NULL,                        -- in the timeline
    counted_at bigint NOT NULL                     -- ms
);
CREATE INDEX room_figures_name ON room_figures (lower(name), room_id);
CREATE INDEX room_figures_members ON room_figures (members, room_id);
CREATE INDEX room_figures_events ON room_figures (events, room_id);

CREATE INDEX accounts_created ON accounts (created_at, user_id);
CREATE INDEX media_references_room ON media_references (room_id);
