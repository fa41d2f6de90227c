"""Every operation with valid and invalid input, made of the OpenAPI document: no answer is a
failure of the server's, and each is as the document says.

One short round, the same each time; ``COMITY_FUZZ_SECONDS`` goes on with new ones for so long.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import Case, GenerationMode

from client_api.conversations.openapi import document
from client_api.conversations.rest import ALL
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

from .conftest import ApiUser, new_user
from .contract import contract
from .fuzzing import SECONDS, SEED, STRANGE, try_examples, watched_log

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EXAMPLES = 3  # of each operation, valid ones and invalid ones
ANSWER_SECONDS = 15
MOST_GROWTH = 60 << 20  # bytes of memory, in a short round
STREAMS = ("text/event-stream",)
PAGE = "text/html"
ENDS_SESSION = {"delete_current_session", "delete_account", "sign_out_others", "sign_out_device"}


@schemathesis.serializer("application/offset+octet-stream")
def raw_bytes(_: Any, value: Any) -> bytes:
    """The body of an upload."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


class World:
    """An instance in which there is something, and the IDs of it."""

    def __init__(self, base_url: str, token: str, victim: str, known: dict[str, list[str]]) -> None:
        self.base_url = base_url
        self.token = token
        self.victim = victim
        self.known = known
        self.answered = 0


async def make_world(instance: Instance) -> World:
    """Two people with conversations, messages of all kinds, and files."""
    alice, bob, victim = [await new_user(instance, n) for n in ("alice", "bob", "victim")]
    group = (await alice.post("/conversations", {"name": "Tea"}, status=201))["id"]
    room = await instance.room(alice.token)
    await bob.matrix("POST", f"/join/{room}", {})
    messages = []
    for body in (
        {"text": "hello **you**", "format": "markdown", "client_id": "1"},
        {
            "kind": "poll",
            "poll": {"question": "Tea?", "choices": [{"text": "yes"}, {"text": "no"}]},
        },
        {
            "kind": "event",
            "event": {"title": "Tea", "starts_at": "2030-01-01T10:00:00Z"},
        },
        {"kind": "location", "location": {"latitude": 1, "longitude": 2}},
    ):
        sent = await alice.post(f"/conversations/{room}/messages", body, status=201)
        messages.append(sent["message"]["id"])
    media = await upload(alice)
    message = {"conversation_id": room, "text": "later"}
    later = {"message": message, "send_at": rfc3339(int((time.time() + 86_400) * 1000))}
    scheduled = await alice.post("/scheduled", later, status=201)
    hook = await alice.post(
        f"/conversations/{room}/incoming-webhooks", {"label": "deploys"}, status=201
    )
    known = {
        "conversation_id": [room, group],
        "message_id": messages,
        "media_id": [media],
        "person": ["bob@one.test", "@bob:one.test", "alice@one.test", "x@unknown.invalid"],
        "peer": ["bob@one.test"],
        "to": ["bob@one.test"],
        "scheduled_id": [scheduled["id"]],
        "secret": [hook["url"].rpartition("/")[2]],
        "scope": ["message", "presence"],
        "key": ["👍"],
        "provider": ["x"],
        "reply_to": messages,
        "thread": messages[:1],
        "around": messages,
        "user": ["alice"],
    }
    base_url = str(instance.client.make_url("/")).rstrip("/")
    return World(base_url, alice.token, victim.token, known)


async def upload(user: ApiUser) -> str:
    """A picture."""
    headers = {"Authorization": f"Bearer {user.token}", "Content-Type": "image/png"}
    async with user.instance.client.post(
        "/api/v1/media?name=a.png", data=PIXEL, headers=headers
    ) as response:
        found: str = (await response.json())["id"]
        return found


class Fuzzer:
    """Calls operations from a thread of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session = requests.Session()
        self.defects: dict[str, str] = {}
        self.schema = schemathesis.openapi.from_dict(document(ALL, world.base_url))

    def operations(self) -> Iterator[Any]:
        for found in self.schema.get_all_operations():
            yield found.ok()

    def round(self, examples: int, number: int, until: float | None = None) -> None:
        """So many examples of each operation."""
        for operation in self.operations():
            if until is not None and time.monotonic() > until:
                return
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    strategy = operation.as_strategy(generation_mode=mode)
                except Exception as error:
                    raise AssertionError(f"{operation.label}: {error}") from error
                self._try(strategy, examples, number)

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
                if name in self.world.known and draw < 0.7:
                    part[name] = chance.choice(self.world.known[name])
                elif isinstance(part[name], str) and draw > 0.9:
                    part[name] = chance.choice(STRANGE)
        if isinstance(case.body, dict) and chance.random() < 0.5:
            for name in ("to", "conversation_id"):
                if name in case.body:
                    case.body[name] = chance.choice(self.world.known[name])

    def _call(self, case: Case) -> None:
        name = case.operation.definition.raw["operationId"]
        token = self.world.victim if name in ENDS_SESSION else self.world.token
        case.headers = {
            key: value
            for key, value in (case.headers or {}).items()
            if key.lower() not in ("content-length", "transfer-encoding", "authorization")
        }
        sent = case.as_transport_kwargs(
            base_url=self.world.base_url, headers={"Authorization": f"Bearer {token}"}
        )
        sent.pop("cookies", None)
        try:
            response = self.session.request(
                **sent, stream=True, timeout=ANSWER_SECONDS, allow_redirects=False
            )
        except (UnicodeEncodeError, requests.exceptions.InvalidHeader):
            return  # the client cannot say it
        with response:
            self._check(case, name, response)
        self.world.answered += 1

    def _check(self, case: Case, name: str, response: requests.Response) -> None:
        status = response.status_code
        said = response.headers.get("Content-Type", "").partition(";")[0]
        what = (case.method, case.formatted_path, case.query, case.body, status)
        if status == 400 and said == "text/plain" and len(response.request.url or "") > 8_000:
            return  # refused before it was any operation's
        assert status < 500 or status in (502, 504), (what, response.text[:500])
        described = case.operation.definition.raw["responses"]
        if said in STREAMS or (
            said == PAGE and PAGE in described.get("200", {}).get("content", {})
        ):
            return  # without an end; or for people
        content = response.content
        if status >= 400:
            assert said == "application/problem+json" or case.method == "HEAD", (what, content)
        elif status not in (304, 302, 303, 206):
            assert str(status) in described, (what, described.keys())
            types = described[str(status)].get("content", {})
            assert not types or said in types or any("*" in kind for kind in types), (what, said)
        if said.endswith("json") and content:
            path = "/api/v1" + case.path.removeprefix("/api/v1")
            contract().check(case.method, _plain(path), status, said, json.loads(content))


def _plain(path: str) -> str:
    """A path that the contract knows, without what stands for its parts."""
    return path.replace("{", "").replace("}", "")


def resident_bytes() -> int:
    """This process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_every_operation_answers_anything_as_it_says(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exercised = set(contract().exercised)
    async with running(database, tmp_path) as instance:
        world = await make_world(instance)
        fuzzer = Fuzzer(world)
        with watched_log(caplog):
            await asyncio.to_thread(fuzzer.round, EXAMPLES, SEED)
        gc.collect()
        before, number, until = resident_bytes(), SEED, time.monotonic() + SECONDS
        assert not fuzzer.defects, "\n\n".join(map(" ".join, fuzzer.defects.items()))
        with watched_log(caplog):
            while not fuzzer.defects and time.monotonic() < until:
                number += 1
                await asyncio.to_thread(fuzzer.round, 10 * EXAMPLES, number, until)
        grown = resident_bytes() - before

        print(f"{world.answered} answers, {grown >> 20} MiB more memory in the further rounds")
        assert not fuzzer.defects, "\n\n".join(map(" ".join, fuzzer.defects.items()))
        assert world.answered > len(list(fuzzer.operations()))
        assert grown < MOST_GROWTH + SECONDS * (1 << 20)
    contract().exercised.intersection_update(exercised)
