"""An owner who is asked for consent, and a peer of some server who wants something."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.harness import RawClient, eventually

_serial = itertools.count(1)
PEERS = {"local": "comity-comity", "comity": "comity-comity", "synapse": "comity-synapse"}


@dataclass
class Door:
    """A user of a Comity, and a stranger somewhere."""

    peer: str
    owner: RawClient
    stranger: RawClient

    # ------------------------------------------------------------ the owner's side

    async def ours(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask Comity's own API as the owner."""
        return await _ours(self.owner, method, path, body)

    async def answer(self, scope: str, preset: str) -> None:
        """Choose a preset for a scope."""
        await self.ours("PUT", f"/consent/{scope}", {"preset": preset})

    async def deny(self, scope: str, peer: str | None = None) -> None:
        """Deny a scope to the stranger, or to a whole instance."""
        await self._set(scope, peer or self.stranger.user_id, "denied")

    async def revoke(self, scope: str) -> None:
        """Take a consent back."""
        await self._set(scope, self.stranger.user_id, "revoked")

    async def grant(self, scope: str) -> None:
        """Grant a scope to the stranger."""
        await self._set(scope, self.stranger.user_id, "granted")

    async def _set(self, scope: str, peer: str, state: str) -> None:
        await self.ours("PUT", f"/consent/{scope}/{quote(peer, safe='')}", {"state": state})

    async def sync(self) -> dict[str, Any]:
        """What the owner's client is shown from the start."""
        return await self.owner.call("GET", "sync")

    async def invites(self) -> list[str]:
        """The rooms that the owner's client shows invites to."""
        return list((await self.sync()).get("rooms", {}).get("invite", {}))

    async def requests(self) -> list[dict[str, Any]]:
        """Who waits for the owner's answer."""
        found: list[dict[str, Any]] = (await self.ours("GET", "/requests"))["requests"]
        return found

    async def types_and_texts(self, room_id: str) -> list[str]:
        """What the owner reads in a room, messages by their text."""
        events = await self.owner.history(room_id)
        return [e["content"].get("body") or e["type"] for e in events if "state_key" not in e]

    # ------------------------------------------------------------ both

    async def meet(self) -> str:
        """A direct chat that the stranger began and the owner came to."""
        room_id = await self.ask()
        await eventually(lambda: self._is_invited(room_id), "the invite")
        await self.owner.join(room_id)
        await eventually(lambda: self._both_in(room_id), "both in the room")
        return room_id

    async def _is_invited(self, room_id: str) -> bool:
        return room_id in await self.invites()

    async def _both_in(self, room_id: str) -> bool:
        both = {self.owner.user_id, self.stranger.user_id}
        return both <= await self.stranger.joined_members(room_id)

    # ------------------------------------------------------------ the stranger's side

    async def ask(self, **options: Any) -> str:
        """The stranger opens a direct chat."""
        return await self.stranger.create_room(
            preset="trusted_private_chat", is_direct=True, invite=[self.owner.user_id], **options
        )

    async def send(self, room_id: str, kind: str, content: dict[str, Any]) -> None:
        """The stranger sends any event."""
        txn = f"d{next(_serial)}"
        await self.stranger.call("PUT", "rooms", room_id, "send", kind, txn, body=content)


async def _ours(user: RawClient, method: str, path: str, body: Any = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {user.access_token}"}
    url = f"{user.base_url}/_comity/client/v1{path}"
    async with user.session.request(method, url, json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer
