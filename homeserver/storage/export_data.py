"""What this instance has of a user, table by table, for the export of their data.

Never here: password hashes, tokens, private keys, and what others alone may know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from homeserver.storage.database import Database, Queryable

ROWS_AT_ONCE = 200

SELECT_ACCOUNT = """
SELECT user_id, admin AS is_admin, created_at, password_hash IS NOT NULL AS has_password
FROM accounts WHERE user_id = $1
"""
SELECT_PROFILE = "SELECT fields FROM profiles WHERE user_id = $1"
SELECT_PRESENCE = """
SELECT presence, status_msg, last_active_at FROM presence WHERE user_id = $1
"""

# File in the archive -> the user's ($1) rows in it.  Times are in ms.
TABLES = {
    "account/account_data.jsonl": """
SELECT room_id, type, content FROM account_data WHERE user_id = $1 AND type <> 'm.push_rules'
ORDER BY room_id, type
""",
    "account/devices.jsonl": """
SELECT d.device_id, d.display_name, d.created_at, d.last_seen_at, d.last_seen_ip, d.user_agent,
    k.keys AS public_keys
FROM devices d LEFT JOIN device_keys k USING (user_id, device_id)
WHERE d.user_id = $1 ORDER BY d.created_at
""",
    "account/cross_signing_public_keys.jsonl": """
SELECT usage, key FROM cross_signing_keys WHERE user_id = $1 ORDER BY usage
""",
    "account/scheduled.jsonl": """
SELECT kind, room_id, event_type, state_key, body, scheduled_at, due_at, state, event_id
FROM scheduled_sends WHERE user_id = $1 ORDER BY due_at
""",
    "account/sign_in.jsonl": """
SELECT provider, created_at FROM external_identities WHERE user_id = $1 ORDER BY provider
""",
    "account/oauth_sessions.jsonl": """
SELECT s.device_id, c.metadata ->> 'client_name' AS client_name,
    c.metadata ->> 'client_uri' AS client_uri, s.scope, s.created_at
FROM oauth_sessions s JOIN oauth_clients c USING (client_id)
WHERE s.user_id = $1 ORDER BY s.created_at
""",
    "account/browsers.jsonl": """
SELECT created_at, authenticated_at, last_seen_at, last_seen_ip, user_agent FROM account_sessions
WHERE user_id = $1 ORDER BY created_at
""",
    "account/api_tokens.jsonl": """
SELECT name, prefix, scopes, created_at, expires_at, last_used_at FROM api_tokens
WHERE user_id = $1 ORDER BY created_at
""",
    "account/webhooks.jsonl": """
SELECT url, events, description, state, created_at FROM webhooks
WHERE user_id = $1 ORDER BY created_at
""",
    "account/pushers.jsonl": """
SELECT kind, app_id, app_display_name, device_display_name, device_id, lang, enabled, updated_at,
    data, CASE WHEN kind = 'email' THEN pushkey END AS address
FROM pushers WHERE user_id = $1 ORDER BY pusher_id
""",
    "account/incoming_webhooks.jsonl": """
SELECT room_id, label, created_at, last_used_at FROM incoming_webhooks
WHERE user_id = $1 ORDER BY created_at
""",
    "account/application.jsonl": """
SELECT a.name, u.created_at FROM application_users u JOIN applications a USING (application_id)
WHERE u.user_id = $1
""",
    "account/media_limits.jsonl": """
SELECT quota_bytes, max_files, max_upload_bytes, changed_at FROM media_limits WHERE user_id = $1
""",
    "account/filters.jsonl": """
SELECT filter_id, definition FROM filters WHERE user_id = $1 ORDER BY filter_id
""",
    "account/email_addresses.jsonl": """
SELECT medium, address, validated_at, added_at FROM third_party_ids WHERE user_id = $1
ORDER BY added_at
""",
    "account/identity_servers.jsonl": """
SELECT medium, address, id_server, bound_at FROM third_party_bindings WHERE user_id = $1
ORDER BY bound_at
""",
    "account/accepted_terms.jsonl": """
SELECT name, version, accepted_at, how FROM terms_accepted WHERE user_id = $1 ORDER BY accepted_at
""",
    "account/invitations.jsonl": """
SELECT i.note, i.uses_allowed, i.uses_completed, i.created_at, i.expires_at, i.revoked_at,
    coalesce((SELECT json_agg(json_build_object('user_id', u.user_id, 'used_at', u.used_at))
        FROM invitation_uses u WHERE u.code = i.code), '[]') AS used_by
FROM invitations i WHERE i.inviter = $1 ORDER BY i.created_at
""",
    "account/invited_by.jsonl": """
SELECT inviter, used_at, room_id FROM invitation_uses WHERE user_id = $1
""",
    "account/exports.jsonl": """
SELECT requested_at, state, finished_at, size_bytes FROM exports WHERE user_id = $1
ORDER BY requested_at
""",
    "account/room_aliases.jsonl": """
SELECT alias, room_id FROM room_aliases WHERE creator = $1 ORDER BY alias
""",
    "account/receipts.jsonl": """
SELECT r.room_id, r.receipt_type, r.thread_id, r.event_id, r.ts
FROM memberships m JOIN receipts r ON r.room_id = m.room_id AND r.user_id = m.user_id
WHERE m.user_id = $1 ORDER BY r.room_id, r.receipt_type, r.thread_id
""",
    "account/hidden_events.jsonl": """
SELECT room_id, event_id, hidden_at FROM hidden_events WHERE user_id = $1 ORDER BY hidden_at
""",
    "account/viewed_messages.jsonl": """
SELECT event_id, device_id, seen_at FROM message_views WHERE user_id = $1 ORDER BY seen_at
""",
    "account/reports.jsonl": """
SELECT event_id, room_id, sender, note, times, created_at, state, resolved_at
FROM moderation_queue WHERE reporter = $1 ORDER BY item_id
""",
    "consent/history.jsonl": """
SELECT position, peer, scope, state, how, actor, created_at, expires_at
FROM consent WHERE owner = $1 ORDER BY position
""",
    "consent/now.jsonl": """
SELECT scope, peer, state, expires_at FROM consent_current WHERE owner = $1 ORDER BY scope, peer
""",
    "consent/message_requests.jsonl": """
SELECT sender, server, scope, room_id, state, attempts, created_at, updated_at, expires_at, reported
FROM message_requests WHERE owner = $1 ORDER BY created_at
""",
}
SELECT_UPLOADS = """
SELECT media_id FROM media WHERE uploader = $1 AND origin = $2 AND media_id > $3
ORDER BY media_id LIMIT $4
"""


async def get_account_row(db: Queryable, user_id: str) -> dict[str, Any]:
    """The account itself; empty if there is none."""
    return dict(await db.fetchrow(SELECT_ACCOUNT, user_id) or {})


async def get_profile(db: Queryable, user_id: str) -> dict[str, Any]:
    """The fields of the profile."""
    fields: dict[str, Any] | None = await db.fetchval(SELECT_PROFILE, user_id)
    return fields or {}


async def get_presence(db: Queryable, user_id: str) -> dict[str, Any]:
    """When the user was active last, and what they said of themselves."""
    return dict(await db.fetchrow(SELECT_PRESENCE, user_id) or {})


async def read_table(database: Database, name: str, user_id: str) -> AsyncIterator[dict[str, Any]]:
    """The rows of one of ``TABLES``, a few at a time."""
    async with database.transaction() as connection:
        async for row in connection.cursor(TABLES[name], user_id, prefetch=ROWS_AT_ONCE):
            yield dict(row)


async def get_uploads(db: Queryable, user_id: str, origin: str, after: str) -> list[str]:
    """Some of the IDs of what a user has uploaded here, in order, those behind ``after``."""
    rows = await db.fetch(SELECT_UPLOADS, user_id, origin, after, ROWS_AT_ONCE)
    return [row["media_id"] for row in rows]
