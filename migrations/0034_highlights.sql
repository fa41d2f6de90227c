-- What mentions somebody is little among all that notifies: GET /notifications?only=highlight finds
-- it without going through the rest.
CREATE INDEX notifications_highlights ON notifications (room_id, audience, position)
    WHERE highlight;
