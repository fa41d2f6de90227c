"""What an export says of the account itself: a file per kind, each a line of JSON per row."""

from __future__ import annotations

from typing import Any, Protocol

from homeserver.protocol.events import JsonObject
from homeserver.services.exports.archive import Archive
from homeserver.storage import export_data as storage
from homeserver.storage.database import Database

ACCOUNT_DATA = "account/account_data.jsonl"
SECRET = {"left_out": "a private key, encrypted by your client"}


class PushRules(Protocol):
    """A user's account data, of which the push rules are kept apart."""

    async def get(self, user_id: str, type_: str) -> JsonObject | None:
        """The content of one type, or None if it was never set."""


class AccountPart:
    """Writes ``account/`` and ``consent/``."""

    def __init__(self, *, database: Database, account_data: PushRules) -> None:
        self._database = database
        self._account_data = account_data

    async def write(self, archive: Archive, user_id: str) -> None:
        """Write all of it."""
        about = {
            **await storage.get_account_row(self._database, user_id),
            "profile": await storage.get_profile(self._database, user_id),
            "presence": await storage.get_presence(self._database, user_id),
        }
        await archive.add_json("account/account.json", about)
        rules = await self._account_data.get(user_id, "m.push_rules")
        await archive.add_json("account/push_rules.json", rules or {})
        for name in storage.TABLES:
            async with archive.entry(name) as entry:
                async for row in storage.read_table(self._database, name, user_id):
                    await entry.write_line(without_secrets(row) if name == ACCOUNT_DATA else row)
            await archive.breathe()


def without_secrets(row: dict[str, Any]) -> dict[str, Any]:
    """A row of account data, but for what clients keep in secret storage.

    Spec: client-server API, secrets: such a type has the key ``encrypted``.
    """
    content = row["content"]
    if isinstance(content, dict) and isinstance(content.get("encrypted"), dict):
        return {**row, "content": SECRET}
    return row
