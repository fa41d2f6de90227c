"""A Matrix client of few words: raw requests, for what needs no full client."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

_numbers = itertools.count()


class MatrixRefused(Exception):
    """The server answered with an error; `status` and `errcode` say which."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {dict(body)}")
        self.status = status
        self.body = body
        self.errcode: str = body.get("errcode", "")


@dataclass
class RawClient:
    """One logged-in user."""

    session: aiohttp.ClientSession
    base_url: str
    user_id: str = ""
    access_token: str = ""
    device_id: str = ""

    async def call(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
        version: str = "v3",
    ) -> dict[str, Any]:
        """Call `/_matrix/client/v3/...`; each part of the path is quoted."""
        url = f"{self.base_url}/_matrix/client/{version}/" + "/".join(
            quote(p, safe="") for p in path
        )
        if query:
            url += "?" + urlencode(query)
        headers = {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}
        data = None if body is None and method in ("GET", "DELETE") else json.dumps(body or {})
        async with self.session.request(
            method, url, data=data, headers=headers, timeout=aiohttp.ClientTimeout(seconds)
        ) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            if response.status != 200:
                raise MatrixRefused(response.status, answer or {})
            return answer

    async def register(self, localpart: str, password: str = "correct horse") -> None:
        """Make an account and log in, through the `m.login.dummy` stage if asked."""
        body: dict[str, Any] = {"username": localpart, "password": password}
        try:
            answer = await self.call("POST", "register", body=body)
        except MatrixRefused as refused:
            if refused.status != 401:
                raise
            auth = {"type": "m.login.dummy", "session": refused.body.get("session")}
            answer = await self.call("POST", "register", body={**body, "auth": auth})
        self.user_id = answer["user_id"]
        self.access_token = answer["access_token"]
        self.device_id = answer["device_id"]

    async def create_room(self, **options: Any) -> str:
        """Create a room and return its ID."""
        answer = await self.call("POST", "createRoom", body=options)
        room_id: str = answer["room_id"]
        return room_id

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user."""
        await self.call("POST", "rooms", room_id, "invite", body={"user_id": user_id})

    async def join(self, room_id: str, via: str | None = None) -> None:
        """Join a room, through another server if `via` is given."""
        query = {"via": via, "server_name": via} if via else None
        await self.call("POST", "join", room_id, body={}, query=query)

    async def send(self, room_id: str, text: str, transaction_id: str | None = None) -> str:
        """Send a text message and return its event ID."""
        transaction_id = transaction_id or f"t{next(_numbers)}"
        answer = await self.call(
            "PUT", "rooms", room_id, "send", "m.room.message", transaction_id,
            body={"msgtype": "m.text", "body": text},
        )  # fmt: skip
        event_id: str = answer["event_id"]
        return event_id

    async def history(self, room_id: str) -> list[dict[str, Any]]:
        """The room's whole timeline as this user sees it, oldest first."""
        events: list[dict[str, Any]] = []
        query: dict[str, Any] = {"dir": "b", "limit": 500}
        while True:
            page = await self.call("GET", "rooms", room_id, "messages", query=query)
            events += page["chunk"]
            if not page.get("end") or page["end"] == query.get("from"):
                return events[::-1]
            query["from"] = page["end"]

    async def joined_members(self, room_id: str) -> set[str]:
        """Who is joined, as this user's server sees it."""
        answer = await self.call("GET", "rooms", room_id, "joined_members")
        return set(answer["joined"])


@asynccontextmanager
async def raw_session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP session without a limit on connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def eventually(check: Any, what: str, seconds: float = 60.0) -> None:
    """Wait until `await check()` is true; fail with `what` when it never is."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"never happened: {what}")
        await asyncio.sleep(0.1)
