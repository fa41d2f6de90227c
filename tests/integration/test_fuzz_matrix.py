"""Every operation of the Client-Server API with valid and invalid input, made of the
specification's OpenAPI document: no answer is a failure of the server's, none is late, and each is
as the specification says (which the contract sees to, ``tests/spec``).

One short round, the same each time; ``COMITY_FUZZ_SECONDS`` goes on with new ones for so long.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
from schemathesis import Case, GenerationMode

from homeserver.storage.database import Database
from tests.conversations.fuzzing import SECONDS, SEED, STRANGE, try_examples, watched_log
from tests.spec.bundle import openapi
from tests.spec.contract import contract

from .single import Instance, running

ANSWER_SECONDS = 15
MOST_GROWTH = 60 << 20  # bytes of memory, in a short round
ENDS_SESSION = {"logout", "logout_all", "deactivateAccount", "changePassword"}
ENDS_SESSION |= {"deleteDevice", "deleteDevices"}
SHORT_WAIT = {"timeout": 10, "timeout_ms": 10}
BYTES = ("application/octet-stream", "image/png", "*/*")


@schemathesis.serializer(*BYTES)
def raw_bytes(_: Any, value: Any) -> bytes:
    """The body of an upload."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


class World:
    """An instance in which there is something, and the names of it."""

    def __init__(self, instance: Instance, token: str, other: str, victim: str) -> None:
        self.instance = instance
        self.base_url = str(instance.client.make_url("/")).rstrip("/")
        self.token = token
        self.other = other
        self.victim = victim
        self.known: dict[str, list[Any]] = {}
        self.answered = 0

    @classmethod
    async def make(cls, instance: Instance) -> World:
        """Three people; what the first one has is tried."""
        world = cls(instance, *[await instance.register(n) for n in ("alice", "bob", "victim")])
        await world.renew()
        return world

    async def renew(self) -> None:
        """New rooms with messages: what was there may have been left, banned from and locked."""
        call = self.instance.call
        rooms, events = [], []
        for number in range(2):
            room_id = await self.instance.room(self.token, name=f"Room {number}")
            await call("POST", f"/join/{room_id}", {}, token=self.other)
            for text in ("hello", "https://one.test/ you"):
                said = await self.instance.say(self.token, room_id, text)
                events.append(said["event_id"])
            thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": events[-1]}}
            events.append(
                (await self.instance.say(self.other, room_id, "so", **thread))["event_id"]
            )
            rooms.append(room_id)
        synced = await call("GET", "/sync", token=self.token)
        mine = await call("POST", "/user/@alice:one.test/filter", {"room": {}}, token=self.token)
        device = (await call("GET", "/account/whoami", token=self.token))["device_id"]
        self.known = {
            "roomId": rooms,
            "room_id": rooms,
            "roomIdOrAlias": rooms,
            "rooms": [rooms],
            "eventId": events,
            "event_id": events,
            "m.fully_read": events,
            "m.read": events,
            "userId": ["@alice:one.test"],
            "user_id": ["@bob:one.test", "@x:unknown.invalid"],
            "roomAlias": ["#tea:one.test", "#x:unknown.invalid"],
            "serverName": ["one.test"],
            "server": ["one.test"],
            "server_name": [["one.test"]],
            "via": [["one.test"]],
            "eventType": ["m.room.message", "m.room.name", "m.room.member", "m.reaction"],
            "type": ["m.direct", "x.test", "m.login.password"],
            "stateKey": ["", "@alice:one.test"],
            "filterId": [mine["filter_id"]],
            "filter": [mine["filter_id"], '{"room":{"timeline":{"limit":2}}}'],
            "since": [synced["next_batch"]],
            "from": [synced["next_batch"], "t1"],
            "to": [synced["next_batch"]],
            "at": [synced["next_batch"]],
            "next_batch": [synced["next_batch"]],
            "dir": ["b", "f"],
            "deviceId": [device],
            "kind": ["override", "underride", "room", "sender", "content"],
            "ruleId": [".m.rule.master", "mine", rooms[0], "@bob:one.test"],
            "receiptType": ["m.read", "m.read.private", "m.fully_read"],
            "relType": ["m.thread", "m.annotation"],
            "keyName": ["displayname", "avatar_url", "x.test.pronouns"],
            "tag": ["m.favourite", "u.x"],
            "version": ["1"],
            "ts": [int(time.time() * 1000)],
            "membership": ["join", "leave"],
            "url": ["https://unknown.invalid/"],
            "visibility": ["public", "private"],
            "preset": ["public_chat"],
            "room_version": ["10", "11", "12"],
            "new_version": ["11", "12"],
            "auth": [{"type": "m.login.dummy"}],
            "invite": [["@bob:one.test"]],
            "limit": [0, 1, 10],
        }


class Fuzzer:
    """Calls operations from a thread of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session = requests.Session()
        self.defects: dict[str, str] = {}
        self.slowest: dict[str, float] = {}
        schema = schemathesis.openapi.from_dict(openapi("client-server"))
        self.operations = [found.ok() for found in schema.get_all_operations()]

    def round(self, examples: int, number: int, until: float | None = None) -> None:
        """So many examples of each operation."""
        operations = list(self.operations)
        if until is not None:
            random.Random(number).shuffle(operations)
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if until is not None and time.monotonic() > until:
                    return
                self._try(operation.as_strategy(generation_mode=mode), examples, number)

    def _try(self, strategy: Any, examples: int, number: int) -> None:
        def one(case: Case, chance: random.Random) -> None:
            self._fill_in(case, chance)
            try:
                self._call(case)
            except (AssertionError, requests.RequestException) as error:
                name = f"{type(error).__name__} {case.operation.label}"
                self.defects.setdefault(name, str(error)[:1_500])

        try_examples(strategy, one, examples, number)

    def _fill_in(self, case: Case, chance: random.Random) -> None:
        """Put what there is in the place of what was made up: else nothing is ever found."""
        for part in (case.path_parameters, case.query, case.body):
            if not isinstance(part, dict):
                continue
            for name in part:
                draw = chance.random()
                if name in self.world.known and draw < 0.8:
                    part[name] = chance.choice(self.world.known[name])
                elif isinstance(part[name], str) and draw > 0.9 and name != "nothing":
                    part[name] = chance.choice(STRANGE)
        if isinstance(case.query, dict):
            case.query.update((k, v) for k, v in SHORT_WAIT.items() if k in case.query)

    def _call(self, case: Case) -> None:
        name = case.operation.definition.raw["operationId"]
        token = self.world.victim if name in ENDS_SESSION else self.world.token
        case.headers = {
            key: value
            for key, value in (case.headers or {}).items()
            if key.lower() not in ("content-length", "transfer-encoding", "authorization")
        }
        if isinstance(case.path_parameters, dict):
            case.path_parameters = {
                key: quote(str(value), safe="", errors="replace") if key != "nothing" else ""
                for key, value in case.path_parameters.items()
            }
        sent = case.as_transport_kwargs(
            base_url=self.world.base_url, headers={"Authorization": f"Bearer {token}"}
        )
        sent.pop("cookies", None)
        started = time.monotonic()
        try:
            response = self.session.request(**sent, timeout=ANSWER_SECONDS, allow_redirects=False)
        except (UnicodeEncodeError, requests.exceptions.InvalidHeader):
            return  # the client cannot say it
        seconds = time.monotonic() - started
        self.slowest[name] = max(seconds, self.slowest.get(name, 0.0))
        status = response.status_code
        what = (case.method, case.formatted_path, case.query, case.body, status)
        assert status < 500 or status in (502, 504), (what, response.text[:500])
        self.world.answered += 1


def resident_bytes() -> int:
    """This process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def told(defects: dict[str, str]) -> Iterator[str]:
    """Each defect in a paragraph."""
    return (f"{name}\n{text}" for name, text in defects.items())


async def test_every_operation_answers_anything_as_it_says(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, tmp_path) as instance:
        world = await World.make(instance)
        fuzzer = Fuzzer(world)
        with contract().not_counting(), watched_log(caplog):
            await asyncio.to_thread(fuzzer.round, 1, SEED)
            gc.collect()
            before, number, until = resident_bytes(), SEED, time.monotonic() + SECONDS
            while time.monotonic() < until:
                number += 1
                await world.renew()
                await asyncio.to_thread(fuzzer.round, 5, number, until)
                gc.collect()
                print(f"round {number}: {world.answered} answers, {resident_bytes() >> 20} MiB")
            assert not fuzzer.defects, "\n\n".join(told(fuzzer.defects))
        grown = resident_bytes() - before

        slow = sorted(fuzzer.slowest.items(), key=lambda item: -item[1])[:5]
        print(f"{world.answered} answers, {grown >> 20} MiB more memory; the slowest: {slow}")
        assert world.answered > len(fuzzer.operations)
        assert grown < MOST_GROWTH + SECONDS * (1 << 20)
