-- What reactions, votes and answers to invitations say, so that they are counted without reading
-- their events one by one.
ALTER TABLE events ADD COLUMN relation_key text;
COMMENT ON COLUMN events.relation_key IS
    'of a reaction: its key; of a vote: the choices as a JSON list; of an answer to an invitation: '
    'yes, no or maybe; once the content of an edit is gone: m.replace';

UPDATE events SET relation_key = convert_from(pdu, 'UTF8')::json #>> '{content,m.relates_to,key}'
WHERE relation_type = 'm.annotation' AND erased IS NULL
    AND strpos(convert_from(pdu, 'UTF8'), '\u0000') = 0
    AND length(convert_from(pdu, 'UTF8')::json #>> '{content,m.relates_to,key}') <= 4000;

UPDATE events SET relation_key = coalesce(
    convert_from(pdu, 'UTF8')::json #>> '{content,org.matrix.msc3381.poll.response,answers}',
    convert_from(pdu, 'UTF8')::json #>> '{content,m.selections}')
WHERE relation_type = 'm.reference' AND erased IS NULL
    AND type IN ('m.poll.response', 'org.matrix.msc3381.poll.response')
    AND strpos(convert_from(pdu, 'UTF8'), '\u0000') = 0
    AND length(convert_from(pdu, 'UTF8')) <= 6000;
