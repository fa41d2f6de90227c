"""External checks, asked over real sockets: good ones, slow ones, broken ones, liars."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from homeserver.services.external_checks.breaker import REST_SECONDS
from homeserver.services.external_checks.definition import CheckDefinition
from homeserver.services.external_checks.service import MESSAGE, NOT_CHECKED, ExternalChecks
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_facts import MediaFacts, MediaSubject, sniff
from homeserver.storage.policy import VerdictRow
from tests.services.external_checks.scanners import FakeClamd, Service, clamd, webhook
from tests.services.pictures import EICAR, encoded, picture

SECRET = "a secret of some length"


@dataclass
class Subject:
    """An event under judgement."""

    content: dict[str, Any]
    direction: str = "in"
    origin: str = "two.example"
    sender: str = "@bob:two.example"
    type: str = "m.room.message"
    room_id: str = "!room:one.example"
    event_id: str | None = "$event"
    state_key: str | None = None
    media: tuple[MediaFacts, ...] | None = None


class OnlyMessages:
    """A match."""

    async def event(self, subject: Any) -> bool:
        """Messages."""
        return bool(subject.type == "m.room.message")

    def media(self, subject: MediaSubject) -> bool:
        """Pictures."""
        return subject.facts.mime_type.startswith("image/")


@dataclass
class World:
    """The checks, and what they leave in the audit trail."""

    checks: ExternalChecks
    rows: list[VerdictRow]
    now: list[float]
    root: Path

    async def about(self, text: str = "hello", **more: Any) -> Judgement | None:
        """Ask about an event."""
        return await self.checks.check(Subject({"msgtype": "m.text", "body": text}, **more))

    async def about_file(self, content: bytes) -> tuple[Judgement, bool]:
        """Ask about a file."""
        path = self.root / hashlib.sha256(content).hexdigest()
        path.write_bytes(content)
        uploader = "@alice:one.example"
        subject = MediaSubject("local", "one.example", "abc", uploader, sniff(content))
        checked = await self.checks.check_media(subject, MediaBlob(path))
        return checked.judgement, checked.complete

    def trail(self) -> list[tuple[str, str, str | None]]:
        """Rule, action and reason of each row."""
        return [(row.rule, row.action, row.reason) for row in self.rows]


@dataclass
class Worlds:
    """Makes worlds, and ends them."""

    root: Path
    made: list[World] = field(default_factory=list)

    def __call__(self, *checks: dict[str, Any], match: Any = None) -> World:
        rows: list[VerdictRow] = []
        now = [1_000.0]
        external = ExternalChecks(
            checks=[
                (CheckDefinition.parse({"name": "c", **each}, SECRET), match) for each in checks
            ],
            server_name="one.example",
            note=rows.append,
            download_url=lambda path: f"http://one.example/{path.name}",
            clock_ms=lambda: 1_700_000_000_000,
            clock_seconds=lambda: now[0],
        )
        world = World(external, rows, now, self.root)
        self.made.append(world)
        return world


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Worlds]:
    made = Worlds(tmp_path)
    yield made
    for world in made.made:
        await world.checks.close()


@asynccontextmanager
async def asked(answer: Any = None) -> AsyncIterator[tuple[Service, dict[str, Any]]]:
    """A service and the check that asks it."""
    async with webhook() as service:
        if answer is not None:
            service.answer = answer
        yield service, {"kind": "webhook", "url": service.url}


# ---------------------------------------------------------------- webhooks


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("allow", None),
        ("flag", Judgement(Action.ACCEPT, flags=("c",))),
        ("hold", Judgement(Action.HOLD, "c", MESSAGE)),
        ("reject", Judgement(Action.REJECT, "c", MESSAGE)),
        ("soft_fail", Judgement(Action.SOFT_FAIL, "c", MESSAGE)),
        ("strip", Judgement(Action.ACCEPT, "c", MESSAGE, strip_media=True)),
    ],
)
async def test_what_a_service_says_is_done(
    worlds: Worlds, verdict: str, expected: Judgement | None
) -> None:
    async with asked({"verdict": verdict, "reason": "spam\n0.97"}) as (_, check):
        world = worlds(check)

        assert await world.about() == expected

    wanted = [] if verdict == "allow" else [("c", verdict, "spam 0.97")]
    assert world.trail() == wanted


async def test_a_service_is_told_of_the_event_and_nothing_else(worlds: Worlds) -> None:
    async with asked() as (service, check):
        await worlds(check).about("hi", state_key="", media=(MediaFacts("a/b", 5, b"\1" * 32),))

    (question,) = service.questions
    assert question == {
        "check": "c",
        "kind": "event",
        "direction": "in",
        "origin": "two.example",
        "event": {
            "type": "m.room.message",
            "sender": "@bob:two.example",
            "room_id": "!room:one.example",
            "event_id": "$event",
            "state_key": "",
            "content": {"msgtype": "m.text", "body": "hi"},
        },
        "media": [
            {
                "mime_type": "a/b",
                "size_bytes": 5,
                "sha256": "01" * 32,
                "width": None,
                "height": None,
                "perceptual_hash": None,
            }
        ],
    }


async def test_a_question_is_signed(worlds: Worlds) -> None:
    async with asked() as (service, check):
        await worlds(check).about()

    ((headers, body),) = service.requests
    assert headers["X-Comity-Timestamp"] == "1700000000"
    mac = hmac.new(SECRET.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["X-Comity-Signature"] == f"sha256={mac}"


async def test_a_service_is_told_what_a_file_is_and_where_to_fetch_it(worlds: Worlds) -> None:
    content = encoded(picture())
    async with asked({"verdict": "hold"}) as (service, check):
        judgement, complete = await worlds(check).about_file(content)

    (question,) = service.questions
    assert (judgement.action, complete) == (Action.HOLD, True)
    assert (question["kind"], question["uploader"]) == ("media", "@alice:one.example")
    assert question["content_uri"] == "mxc://one.example/abc"
    assert question["media"]["mime_type"] == "image/png"
    assert len(question["media"]["perceptual_hash"]) == 16
    name = hashlib.sha256(content).hexdigest()
    assert question["download_url"] == f"http://one.example/{name}"


async def test_only_what_matches_is_asked_about(worlds: Worlds) -> None:
    async with asked() as (service, check):
        world = worlds(check, match=OnlyMessages())
        await world.about(type="m.reaction")
        await world.about_file(b"a text")
        assert service.questions == []

        await world.about()
        await world.about_file(encoded(picture()))
        assert len(service.questions) == 2


async def test_only_what_it_applies_to_is_asked_about(worlds: Worlds) -> None:
    async with asked() as (service, check):
        events, media = (
            worlds(check | {"applies_to": "events"}),
            worlds({**check, "applies_to": "media"}),
        )

        assert (events.checks.for_events, events.checks.for_media) == (True, False)
        assert (media.checks.for_events, media.checks.for_media) == (False, True)
        await events.about_file(b"a")
        await media.about()
        assert service.questions == []


async def test_the_first_that_objects_decides(worlds: Worlds) -> None:
    async with (
        asked({"verdict": "flag"}) as (first, one),
        asked({"verdict": "reject"}) as (
            second,
            two,
        ),
        asked() as (third, three),
    ):
        world = worlds(one | {"name": "1"}, two | {"name": "2"}, three | {"name": "3"})

        judgement = await world.about()

    assert judgement == Judgement(Action.REJECT, "2", MESSAGE, flags=("1",))
    assert [len(each.questions) for each in (first, second, third)] == [1, 1, 0]
    assert [row[:2] for row in world.trail()] == [("1", "flag"), ("2", "reject")]


async def status_500(request: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def redirected(request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("/elsewhere")


async def not_json(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\xff\x00")


async def nested(request: web.Request) -> web.StreamResponse:
    return web.Response(text="[" * 30_000)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b" " * 65_536)
    except ConnectionError:
        pass
    return response


async def broken_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3_600)
    return web.Response()


LIARS = [status_500, redirected, not_json, nested, endless, broken_off, never]
WRONG = [{}, [], "allow", {"verdict": "ban"}, {"verdict": ["allow"]}, {"verdict": None}, None]


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("handler", LIARS, ids=lambda handler: handler.__name__)
async def test_a_service_that_fails_decides_nothing(
    worlds: Worlds, handler: Any, on_failure: str
) -> None:
    async with asked() as (service, check):
        service.handler = handler
        world = worlds(check | {"on_failure": on_failure, "timeout_seconds": 2})

        event = await world.about()
        judgement, complete = await world.about_file(b"a text")

    assert complete is False
    assert len(service.questions) == 2
    if on_failure == "open":
        assert (event, judgement) == (None, ACCEPTED)
    else:
        assert event == judgement == Judgement(Action.REJECT, "c", NOT_CHECKED)
        assert all(reason and "not checked" in reason for _, _, reason in world.trail())


@pytest.mark.parametrize("answer", WRONG, ids=repr)
async def test_an_answer_that_is_not_as_agreed_is_a_failure(worlds: Worlds, answer: Any) -> None:
    async with asked() as (service, check):
        service.answer = answer
        world = worlds(check | {"on_failure": "closed", "action": "hold"})

        judgement = await world.about()

    assert judgement == Judgement(Action.HOLD, "c", MESSAGE)


async def test_a_service_that_is_not_there_is_a_failure(worlds: Worlds) -> None:
    async with asked() as (_, check):
        world = worlds(check | {"on_failure": "closed"})

    assert await world.about() == Judgement(Action.REJECT, "c", NOT_CHECKED)


async def test_a_reason_is_kept_short_and_in_one_line(worlds: Worlds) -> None:
    async with asked({"verdict": "flag", "reason": "a\r\n\0" + "b" * 5_000}) as (_, check):
        world = worlds(check)
        await world.about()

    ((_, _, reason),) = world.trail()
    assert reason is not None and len(reason) <= 300 and reason.isprintable()


async def test_who_fails_again_and_again_is_left_alone_for_a_while(worlds: Worlds) -> None:
    async with asked() as (service, check):
        service.handler = status_500
        world = worlds(check)
        for _ in range(20):
            assert await world.about() is None
        assert len(service.questions) == 5
        ((rule, action, reason),) = world.trail()
        assert (rule, action) == ("c", "skipped") and "answered 500" in str(reason)

        world.now[0] += REST_SECONDS
        await world.about()
        await world.about()
        assert len(service.questions) == 6

        service.handler = None
        service.answer = {"verdict": "hold"}
        world.now[0] += REST_SECONDS
        assert [await world.about() is not None for _ in range(3)] == [True] * 3


async def test_not_too_many_questions_at_once(worlds: Worlds) -> None:
    under_way, most = 0, 0

    async def busy(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return web.json_response({"verdict": "allow"})

    async with asked() as (service, check):
        service.handler = busy
        world = worlds(check | {"max_concurrent": 3, "timeout_seconds": 30})
        await asyncio.gather(*(world.about() for _ in range(20)))

    assert most == 3
    assert len(service.questions) == 20


# ---------------------------------------------------------------- clamd


def scanner(fake: FakeClamd, **more: Any) -> dict[str, Any]:
    return {"kind": "clamav", "address": fake.address, "timeout_seconds": 20, **more}


async def test_clamd_finds_the_test_virus(worlds: Worlds) -> None:
    async with clamd() as fake:
        world = worlds(scanner(fake, message="That is a virus."))
        infected = await world.about_file(b"x" * 600_000 + EICAR)
        clean = await world.about_file(b"x" * 600_000)
        empty = await world.about_file(b"")

    assert infected == (Judgement(Action.REJECT, "c", "That is a virus."), True)
    assert clean == empty == (ACCEPTED, True)
    assert fake.scanned == [600_000 + len(EICAR), 600_000, 0]
    assert world.trail() == [("c", "reject", "mxc://one.example/abc: Eicar-Test-Signature")]


async def test_clamd_answers_on_a_unix_socket(worlds: Worlds, tmp_path: Path) -> None:
    async with clamd(str(tmp_path / "clamd.ctl")) as fake:
        judgement, _ = await worlds(scanner(fake, action="hold")).about_file(EICAR)

    assert judgement.action is Action.HOLD


async def test_content_is_scanned_once(worlds: Worlds) -> None:
    async with clamd() as fake:
        world = worlds(scanner(fake))
        first = [await world.about_file(content) for content in (EICAR, b"a text")]
        second = [await world.about_file(content) for content in (EICAR, b"a text")]
        assert first == second
        assert len(fake.scanned) == 2

        world.now[0] += 3_601
        await world.about_file(EICAR)
        assert len(fake.scanned) == 3


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("most_here", [True, False])
async def test_what_is_too_large_to_scan_goes_by_on_failure_and_is_final(
    worlds: Worlds, on_failure: str, most_here: bool
) -> None:
    async with clamd() as fake:
        fake.max_bytes = 50_000_000 if most_here else 300_000
        limit = {"max_bytes": 1_000_000} if most_here else {}
        world = worlds(scanner(fake, on_failure=on_failure, **limit))
        answers = [await world.about_file(bytes(2_000_000 + n)) for n in range(7)]
        later, _ = await world.about_file(EICAR)

    expected = ACCEPTED if on_failure == "open" else Judgement(Action.REJECT, "c", MESSAGE)
    assert answers == [(expected, True)] * 7
    assert later.action is Action.REJECT  # the breaker did not open


REPLIES = [
    b"\0",
    b"stream: OK",
    b"x" * 10_000 + b"\0",
    b"\xff\xfe\0",
    b"Access denied. ERROR\0",
    b"",
]


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_a_clamd_that_fails_decides_nothing(
    worlds: Worlds, reply: bytes, on_failure: str
) -> None:
    async with clamd() as fake:
        fake.reply = reply
        judgement, complete = await worlds(scanner(fake, on_failure=on_failure)).about_file(b"a")

    assert complete is False
    wanted = ACCEPTED if on_failure == "open" else Judgement(Action.REJECT, "c", NOT_CHECKED)
    assert judgement == wanted


async def test_a_clamd_that_is_silent_or_not_there_fails(worlds: Worlds) -> None:
    async with clamd() as fake:
        fake.silent = True
        world = worlds(scanner(fake, timeout_seconds=2))
        assert await world.about_file(EICAR) == (ACCEPTED, False)

    assert await world.about_file(EICAR) == (ACCEPTED, False)
    assert fake.scanned == [len(EICAR)]
