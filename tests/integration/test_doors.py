"""Every operation of the Client-Server API, tried by each kind of caller: see ``doors.py``."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from homeserver.storage.database import Database
from tests.integration.doors import ROWS, Row
from tests.integration.single import Instance, running
from tests.integration.test_account_deletion import deactivate
from tests.integration.test_real_deletion import picture, upload
from tests.spec.bundle import Operation, operations

OPERATIONS = {o.name: o for o in operations() if o.api == "client-server"}
USERS = ["owner", "stranger", "former", "suspended", "locked", "deactivated"]
KINDS = ["nobody", "unknown", "deactivated", "locked"]
KINDS += ["guest", "stranger", "former", "suspended", "owner"]
MEMBERS = ["guest", "suspended", "locked", "former", "other"]
SECRET, LATER = "xylophone", "zeppelin"
UNTOLD = dict.fromkeys(("nobody", "unknown", "deactivated", "locked"), (SECRET, LATER))
UNTOLD |= {"stranger": (SECRET, LATER), "former": (LATER,)}
"""What is said in the room and must not be in any answer to a caller."""
SETTINGS: dict[str, Any] = {
    "registration": {"mode": "open", "guests": True},
    "voip": {"turn_uris": ["turn:turn.example.com:3478"], "turn_shared_secret": "s3cret"},
}
USUAL = {"keyName": "displayname", "tag": "u.mine", "version": "1", "protocol": "irc"}
USUAL |= {"roomId": "$ROOM", "roomIdOrAlias": "$ROOM", "eventId": "$EVENT", "userId": "$ME"}
USUAL |= {"deviceId": "$DEVICE", "txnId": "$UNIQUE", "sessionId": "session"}


@dataclass
class Caller:
    """Who tries."""

    token: str
    user_id: str
    device_id: str = ""
    since: str = ""
    filter_id: str = ""
    spare: str = ""  # the token of another session


class World:
    """A room whose callers were never in it, have left it, are in it, or are not let in."""

    def __init__(self, one: Instance) -> None:
        self.one = one
        self.callers: dict[str, Caller] = {}
        self.names: dict[str, str] = {}

    async def make(self) -> None:
        """Everybody, and what they have."""
        for name in [*USERS, "other", "victim", "root"]:
            self.callers[name] = await self._known(await self.one.register(name))
        guest = await self.one.call("POST", "/register?kind=guest", {})
        self.callers["guest"] = await self._known(guest["access_token"])
        guest = await self.one.call("POST", "/register?kind=guest", {})
        self.callers["guest"].spare = guest["access_token"]
        self.callers["nobody"] = Caller("", self.callers["owner"].user_id)
        self.callers["unknown"] = Caller("unknown", self.callers["owner"].user_id)
        await self._rooms()
        await self._others()
        await self._standing()
        await self.one.wiring.conversations.finding.indexer.follower.caught_up()

    async def _known(self, token: str) -> Caller:
        who = await self.one.call("GET", "/account/whoami", token=token)
        caller = Caller(token, who["user_id"], who["device_id"])
        path = f"/user/{caller.user_id}/filter"
        caller.filter_id = (await self.one.call("POST", path, {}, token=token))["filter_id"]
        caller.since = (await self.one.call("GET", "/sync?timeout=0", token=token))["next_batch"]
        return caller

    def token(self, kind: str) -> str:
        return self.callers[kind].token

    async def room(self, **request: Any) -> str:
        """A room of the owner's with those who are in it; who was, has left."""
        powers = {self.callers[kind].user_id: 100 for kind in ("guest", "suspended", "locked")}
        body = {
            "preset": "private_chat",
            "room_version": "11",
            "initial_state": [
                {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
            ],
            "power_level_content_override": {
                "users": {**powers, self.callers["owner"].user_id: 100}
            },
            "invite": [self.callers[kind].user_id for kind in MEMBERS],
            **request,
        }
        room_id = await self.one.room(self.token("owner"), **body)
        for kind in MEMBERS:
            await self.one.call("POST", f"/rooms/{room_id}/join", {}, token=self.token(kind))
        return room_id

    async def _rooms(self) -> None:
        owner = self.token("owner")
        room_id = await self.room(name=SECRET, room_alias_name="hall")
        said = await self.one.say(owner, room_id, SECRET)
        thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": said["event_id"]}}
        await self.one.say(owner, room_id, SECRET, **thread)
        spare = await self.one.say(owner, room_id, "spare")
        alias = {"room_id": room_id}
        await self.one.call("PUT", "/directory/room/%23spare:one.test", alias, token=owner)
        self.names = {
            "$ROOM": room_id,
            "$EVENT": said["event_id"],
            "$SPARE": spare["event_id"],
            "$LEAVE": await self.room(),
            "$FORGET": await self.room(),
            "$UPGRADE": await self.room(),
        }
        for name in ("$ROOM", "$LEAVE", "$FORGET", "$UPGRADE"):
            path = f"/rooms/{self.names[name]}/leave"
            await self.one.call("POST", path, {}, token=self.token("former"))
        await self.one.say(owner, room_id, f"{SECRET} {LATER}")
        rules = {"$OPEN": "public", "$OPEN2": "public", "$KNOCK": "knock"}
        for name, rule in rules.items():
            state = [
                {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
                {"type": "m.room.join_rules", "content": {"join_rule": rule}},
            ]
            self.names[name] = await self.one.room(owner, initial_state=state)

    async def _others(self) -> None:
        owner = self.token("owner")
        self.names["$MEDIA"] = (await upload(self.one, owner, picture("red"))).rpartition("/")[2]
        other = self.token("other")
        made = await self.one.call("POST", "/_matrix/media/v1/create", token=other)
        self.names["$RESERVED"] = made["content_uri"].rpartition("/")[2]
        for kind in USERS:
            login = {"type": "m.login.password", "user": kind, "password": "sesame"}
            answer = await self.one.call("POST", "/login", login)
            self.callers[kind].spare = answer["access_token"]

    async def _standing(self) -> None:
        await self.one.wiring.accounts.set_admin("@root:one.test", True)
        for kind, what in (("locked", "lock"), ("suspended", "suspend")):
            path = f"/_matrix/client/v1/admin/{what}/@{kind}:one.test"
            body = {"locked" if kind == "locked" else "suspended": True}
            await self.one.call("PUT", path, body, token=self.token("root"))
        await deactivate(self.one, self.token("deactivated"), "deactivated")

    # ------------------------------------------------------------ trying

    async def attempt(self, operation: Operation, row: Row, kind: str) -> tuple[str, str]:
        """What a caller gets: status and errcode; the whole answer."""
        caller = self.callers[kind]
        names = {
            **self.names,
            "$ME": caller.user_id,
            "$NAME": f"x{kind}",
            "$DEVICE": caller.device_id or "DEVICE",
            "$SINCE": caller.since,
            "$FILTER": caller.filter_id or "0",
            "$UNIQUE": secrets.token_hex(4),
        }
        token = caller.spare if operation.name == "logout" and caller.spare else caller.token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if row.body is not None:
            data = filled(orjson.dumps(row.body).decode(), names).encode()
            headers["Content-Type"] = "application/json"
        parameters = {**USUAL, **row.path}

        def value(match: re.Match[str]) -> str:
            return quote(filled(parameters[match[1]], names), safe="")

        path = re.sub(r"\{(\w+)\}", value, operation.path) + filled(row.query, names)
        async with self.one.client.request(
            operation.method, path, data=data, headers=headers, allow_redirects=False
        ) as response:
            text = (await response.read()).decode(errors="replace")
            answer = str(response.status)
            if response.status >= 400 and "errcode" in text:
                answer += " " + orjson.loads(text)["errcode"]
            return answer, text


def filled(text: str, names: dict[str, str]) -> str:
    """A text with what its names stand for."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


def test_every_operation_of_the_specification_has_a_row() -> None:
    assert ROWS.keys() == OPERATIONS.keys()


async def test_each_kind_of_caller_gets_what_the_specification_says(
    database: Database, tmp_path: Path
) -> None:
    wrong, leaked, told = [], [], set()
    async with asyncio.timeout(120), running(database, tmp_path, **SETTINGS) as one:
        world = World(one)
        await world.make()
        for name, row in ROWS.items():
            for kind in KINDS:
                answer, text = await world.attempt(OPERATIONS[name], row, kind)
                if answer != row.expected(kind):
                    wrong.append(f"{name} by {kind}: {answer}, not {row.expected(kind)}: {text}")
                if any(word in text for word in UNTOLD.get(kind, ())):
                    leaked.append(f"{name} to {kind}")
                if kind == "owner" and LATER in text:
                    told.add(name)

    assert wrong == []
    assert told >= {"sync", "search", "getRoomEvents", "initialSync", "roomInitialSync"}
    assert leaked == []
