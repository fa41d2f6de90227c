"""A client of sliding sync over HTTP, which keeps what it is told as the MSC has it do."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from tests.integration.single import Instance

LEGACY = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
ACCEPTED = "/_matrix/client/v4/sync"


class SlidingClient:
    """One connection of a device."""

    def __init__(
        self, one: Instance, token: str, *, legacy: bool = True, conn_id: str = ""
    ) -> None:
        self.one = one
        self.token = token
        self.legacy = legacy
        self.body: dict[str, Any] = {"conn_id": conn_id} if conn_id else {}
        self.pos: str | None = None

    def list(
        self, name: str, last: int, *, limit: int = 5, state: Any = None, **filters: Any
    ) -> None:
        """Look at the first rooms of a list."""
        wanted: dict[str, Any] = {"timeline_limit": limit}
        if self.legacy:
            wanted |= {"ranges": [[0, last]], "required_state": state or []}
        else:
            wanted |= {"range": [0, last], "required_state": state or {}}
        if filters:
            wanted["filters"] = filters
        self.body.setdefault("lists", {})[name] = wanted

    def subscribe(self, room_id: str, *, limit: int = 5, state: Any = None) -> None:
        """Look at one room."""
        self.body.setdefault("room_subscriptions", {})[room_id] = {
            "timeline_limit": limit,
            "required_state": state or ([] if self.legacy else {}),
        }

    def extend(self, name: str, **config: Any) -> None:
        """Want an extension."""
        self.body.setdefault("extensions", {})[name] = {"enabled": True, **config}

    async def sync(
        self, *, timeout: int = 0, lose: bool = False, status: int = 200
    ) -> dict[str, Any]:
        """One request; with ``lose``, as if its answer never came."""
        query: dict[str, Any] = {"timeout": timeout}
        body = dict(self.body)
        if self.pos is not None:
            query["pos"] = self.pos
        path = LEGACY if self.legacy else ACCEPTED
        if self.legacy:
            path += "?" + urlencode(query)
        else:
            body |= query
        answer = await self.one.call("POST", path, body, token=self.token, status=status)
        if status == 200 and not lose:
            self.pos = answer["pos"]
        return answer


def texts(part: dict[str, Any]) -> list[str]:
    """What is said in a room's timeline."""
    return [e["content"]["body"] for e in part.get("timeline", ()) if "body" in e["content"]]


def state_keys(part: dict[str, Any]) -> set[tuple[str, str]]:
    """The keys of a room's required state."""
    return {(e["type"], e["state_key"]) for e in part.get("required_state", ())}


async def alone(one: Instance) -> tuple[str, str, SlidingClient]:
    """Alice, a room of hers, and her client, which looks at nothing yet."""
    alice = await one.register("alice")
    return alice, await one.room(alice), SlidingClient(one, alice)
