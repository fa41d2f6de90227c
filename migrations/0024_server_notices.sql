-- The room in which each user gets the notices of this server: one per user.
-- Spec: client-server API, server notices.

CREATE TABLE server_notice_rooms (
    user_id text PRIMARY KEY,                      -- who is told
    room_id text NOT NULL UNIQUE
);
