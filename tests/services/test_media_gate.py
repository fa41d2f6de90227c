"""Files are judged as they come in, and what was decided holds for every download."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.media import CannotOverwrite, MediaService
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_facts import MediaSubject
from homeserver.services.media_files import MediaFiles
from homeserver.services.media_gate import WITHHELD, CheckedMedia, MediaGate
from homeserver.services.thumbnails import Thumbnails
from homeserver.storage.database import Database
from tests.services.deleting import strays
from tests.services.doubles import Clock
from tests.services.pictures import encoded, picture

ALICE = "@alice:one.example"
REJECT = Judgement(Action.REJECT, "no-programs", "No programs here.")
HOLD = Judgement(Action.HOLD, "look", "")
STRIP = Judgement(Action.ACCEPT, "strip", "", strip_media=True)
PROGRAM = b"\x7fELF\2\1\1" + bytes(60)


@dataclass
class Rules:
    """Rules that look at a file's kind."""

    verdicts: dict[str, Judgement] = field(default_factory=dict)
    needs_media_facts: bool = True
    revision: str = "1"
    asked: list[MediaSubject] = field(default_factory=list)

    async def judge_media(self, subject: MediaSubject) -> Judgement:
        """By kind."""
        self.asked.append(subject)
        return self.verdicts.get(subject.facts.mime_type, ACCEPTED)


@dataclass
class Checks:
    """An external check."""

    answer: CheckedMedia = field(default_factory=lambda: CheckedMedia(ACCEPTED))
    for_media: bool = False
    revision: str = "1"
    contents: list[bytes] = field(default_factory=list)

    async def check_media(self, subject: MediaSubject, blob: MediaBlob) -> CheckedMedia:
        """As it was told."""
        self.contents.append(blob.read())
        return self.answer


@dataclass
class RemoteFile:
    """Another instance's file."""

    content: bytes
    content_type: str | None = "image/png"
    upload_name: str | None = "cat.png"

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes."""
        return stream(self.content)


@dataclass
class Remote:
    """Other instances' media."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def download(
        self, origin: str, media_id: str, timeout_ms: int
    ) -> AsyncIterator[RemoteFile]:
        """A file."""
        self.asked.append(media_id)
        yield RemoteFile(self.files[media_id])


async def stream(content: bytes) -> AsyncIterator[bytes]:
    """Content, as it is uploaded."""
    yield content


@dataclass
class World:
    """The content repository with a gate."""

    media: MediaService
    gate: MediaGate
    rules: Rules
    checks: Checks
    remote: Remote
    database: Database
    root: Path

    async def upload(self, content: bytes) -> str:
        """Alice uploads."""
        return await self.media.upload(ALICE, stream(content), "image/png", None)

    async def download(self, media_id: str, origin: str = "one.example") -> bytes:
        """Somebody downloads."""
        found = await self.media.find(origin, media_id)
        return found.blob.read()

    async def refusal(self, media_id: str, origin: str = "one.example") -> str:
        """Why somebody may not download."""
        with pytest.raises(Forbidden) as caught:
            await self.media.find(origin, media_id)
        return caught.value.text

    def on_disk(self) -> int:
        """How many files there are."""
        return sum(path.is_file() for path in self.root.rglob("*"))

    async def again(self) -> MediaGate:
        """The gate after a restart."""
        self.gate._any_lasting = False
        await self.gate.start()
        return self.gate


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    rules, checks, remote, clock = Rules(), Checks(), Remote(), Clock()
    files = MediaFiles(tmp_path)
    gate = MediaGate(
        server_name="one.example",
        database=database,
        policy=rules,
        checks=checks,
        find_file=files.blob,
        clock_ms=clock,
    )
    media = MediaService(
        server_name="one.example",
        database=database,
        files=files,
        strays=strays(database, files, clock),
        thumbnails=Thumbnails(files),
        remote=remote,
        max_upload_bytes=1_000_000,
        unauthenticated_downloads=False,
        clock_ms=clock,
        gate=gate,
    )
    await media.start()
    await gate.start()
    yield World(media, gate, rules, checks, remote, database, tmp_path)
    await gate.close()
    await media.close()


async def test_a_refused_upload_leaves_nothing(world: World) -> None:
    world.rules.verdicts = {"application/x-executable": REJECT}

    with pytest.raises(Forbidden, match=r"No programs here\."):
        await world.upload(PROGRAM)

    assert world.on_disk() == 0
    assert await world.database.fetch("SELECT FROM media") == []
    assert await world.upload(b"a text")


@pytest.mark.parametrize("verdict", [HOLD, STRIP])
async def test_what_is_withheld_waits_for_a_moderator(world: World, verdict: Judgement) -> None:
    world.rules.verdicts = {"text/plain": verdict}

    media_id = await world.upload(b"a text")

    assert await world.refusal(media_id) == WITHHELD
    assert (await world.gate.held_file("one.example", media_id)).read() == b"a text"
    (waiting,) = await world.gate.withheld(0, 10)
    assert (waiting.media_id, waiting.uploader, waiting.rule) == (media_id, ALICE, verdict.rule)

    await world.gate.release("one.example", media_id, "@mod:one.example")

    assert await world.download(media_id) == b"a text"
    assert await world.gate.withheld(0, 10) == []
    for again in (world.gate.release, world.gate.refuse):
        with pytest.raises(NotFound):
            await again("one.example", media_id, "@mod:one.example")
    with pytest.raises(NotFound):
        await world.gate.held_file("one.example", media_id)


async def test_what_a_moderator_refuses_stays_refused(world: World) -> None:
    world.rules.verdicts = {"text/plain": HOLD}
    media_id = await world.upload(b"a text")

    await world.gate.refuse("one.example", media_id, "@mod:one.example")
    world.rules.verdicts, world.rules.revision = {}, "2"

    assert "content policy" in await world.refusal(media_id)
    world.rules.needs_media_facts = False
    await world.again()
    assert "content policy" in await world.refusal(media_id)


async def test_no_later_content_for_the_same_id_takes_a_refusal_back(world: World) -> None:
    world.rules.verdicts = {"text/plain": HOLD}
    media_id = (await world.media.create(ALICE)).media_id

    async def slow() -> AsyncIterator[bytes]:
        yield b"\0"
        await world.media.upload_to(media_id, ALICE, stream(b"a text"), None, None)
        await world.gate.refuse("one.example", media_id, "@mod:one.example")
        yield b"harmless"

    with pytest.raises(CannotOverwrite):
        await world.media.upload_to(media_id, ALICE, slow(), None, None)
    world.rules.needs_media_facts = False
    await world.again()

    assert "content policy" in await world.refusal(media_id)


async def test_what_is_held_stays_held_when_the_rules_are_gone(world: World) -> None:
    world.rules.verdicts = {"text/plain": HOLD}
    media_id = await world.upload(b"a text")

    world.rules.verdicts, world.rules.revision = {}, "2"
    assert await world.refusal(media_id) == WITHHELD
    world.rules.needs_media_facts = False
    await world.again()

    assert await world.refusal(media_id) == WITHHELD


async def test_a_file_is_judged_once_until_the_rules_change(world: World) -> None:
    media_id = await world.upload(b"a text")
    await world.download(media_id)
    await world.download(media_id)
    assert len(world.rules.asked) == 1

    world.rules.verdicts, world.rules.revision = {"text/plain": REJECT}, "2"

    assert await world.refusal(media_id) == "No programs here."
    assert await world.refusal(media_id) == "No programs here."
    assert len(world.rules.asked) == 2


async def test_a_file_from_before_the_rules_is_judged_when_it_is_wanted(world: World) -> None:
    world.rules.needs_media_facts = False
    media_id = await world.upload(PROGRAM)
    assert await world.database.fetch("SELECT FROM media_facts") == []

    world.rules.needs_media_facts = True
    world.rules.verdicts = {"application/x-executable": REJECT}

    assert await world.refusal(media_id) == "No programs here."


async def test_a_remote_file_that_is_refused_is_not_fetched_again(world: World) -> None:
    world.remote.files["bad"] = PROGRAM
    world.rules.verdicts = {"application/x-executable": REJECT}

    answers = [await world.refusal("bad", "two.example") for _ in range(2)]

    assert answers == ["No programs here."] * 2
    assert world.remote.asked == ["bad"]
    assert world.on_disk() == 0
    (subject,) = world.rules.asked
    assert (subject.direction, subject.origin, subject.uploader) == ("in", "two.example", None)

    world.rules.verdicts, world.rules.revision = {}, "2"
    assert await world.download("bad", "two.example") == PROGRAM


async def test_a_remote_file_that_is_held_is_kept_for_the_moderator(world: World) -> None:
    world.remote.files["odd"] = b"a text"
    world.rules.verdicts = {"text/plain": HOLD}

    assert await world.refusal("odd", "two.example") == WITHHELD
    await world.gate.release("two.example", "odd", "@mod:one.example")

    assert await world.download("odd", "two.example") == b"a text"
    assert world.remote.asked == ["odd"]


async def test_a_check_reads_the_file_before_it_is_stored(world: World) -> None:
    world.checks.for_media, world.checks.answer = True, CheckedMedia(REJECT)

    with pytest.raises(Forbidden):
        await world.upload(b"x" * 500_000)

    assert world.checks.contents == [b"x" * 500_000]
    assert world.on_disk() == 0


async def test_a_check_that_failed_is_asked_again(world: World) -> None:
    world.checks.for_media = True
    world.checks.answer = CheckedMedia(ACCEPTED, complete=False)
    media_id = await world.upload(b"a text")
    assert await world.download(media_id) == b"a text"

    world.checks.answer = CheckedMedia(REJECT)

    assert await world.refusal(media_id) == "No programs here."
    assert len(world.checks.contents) == 3


async def test_what_the_rules_refuse_no_check_is_asked_about(world: World) -> None:
    world.checks.for_media = True
    world.rules.verdicts = {"text/plain": REJECT}

    with pytest.raises(Forbidden):
        await world.upload(b"a text")

    assert world.checks.contents == []


# ---------------------------------------------------------------- facts for rules about events


def uri(media_id: str) -> MediaUri:
    return MediaUri("one.example", media_id)


async def test_the_files_of_an_event_are_known(world: World) -> None:
    content = encoded(picture())
    world.rules.needs_media_facts = False
    picture_id, text_id = await world.upload(content), await world.upload(b"a text")

    facts, text = await world.gate.facts_of([uri(picture_id), uri("unknown"), uri(text_id)])

    assert (facts.mime_type, facts.width, facts.size_bytes) == ("image/png", 320, len(content))
    assert facts.perceptual_hash is not None
    assert text.mime_type == "text/plain"
    assert facts.sha256 in await stored_hashes(world.database)


async def stored_hashes(database: Database) -> set[bytes]:
    return {row["sha256"] for row in await database.fetch("SELECT sha256 FROM media_facts")}


@pytest.mark.parametrize("seed", range(6))
async def test_facts_come_back_from_the_database_as_they_were(world: World, seed: int) -> None:
    media_id = await world.upload(encoded(picture(seed)))
    (judged,) = world.rules.asked

    assert await world.gate.facts_of([uri(media_id)]) == [judged.facts]


async def test_the_facts_of_a_file_that_is_gone_are_missing(world: World) -> None:
    world.rules.needs_media_facts = False
    media_id = await world.upload(b"a text")
    for path in list(world.root.rglob("*")):
        if path.is_file():
            path.unlink()

    assert await world.gate.facts_of([uri(media_id)]) == []
