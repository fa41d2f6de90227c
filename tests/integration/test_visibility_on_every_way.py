"""History visibility on every way of reading, for every kind of reader.

A room lives through every setting of its history visibility, while its readers come, go, are
invited and banned.  Each word that is said then is read by each of them on every way.  What they
are to see is computed here from the rules of the specification alone.

Spec: client-server API, room history visibility.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from homeserver.storage.database import Database
from tests.integration.reading_world import World, begin, instance
from tests.integration.single import Instance
from tests.integration.sliding import LEGACY
from tests.integration.test_exports import export
from tests.integration.ways_of_reading import api_paths, ask, graphql, sliding_body

WORD, TOPIC = re.compile(r"word[0-9]+x"), re.compile(r"topic[0-9]+x")
PREVIEWS = ("hierarchy", "summary")  # everybody may know the topic of a public room
READERS = ("early", "banned", "again", "invited", "late", "direct", "never", "barred", "declines")


@dataclass
class Past:
    """What was said, and what was so at the time: the specification's own table."""

    setting: str = "shared"
    members: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    joins: list[tuple[int, str]] = field(default_factory=list)  # after so many words
    ids: dict[str, str] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)  # after so many words
    invited: dict[str, int] = field(default_factory=dict)

    def member(self, who: str, membership: str) -> None:
        if self.members.get(who) == "join":
            self.left[who] = len(self.said)
        self.members[who] = membership
        if membership == "invite":
            self.invited[who] = len(self.said)
        if membership == "join":
            self.joins.append((len(self.said), who))

    def sees(self, who: str) -> set[str]:
        """The words that a reader may see, by the five rules."""
        return {word for place, (word, _, _) in enumerate(self.said) if self._sees(who, place)}

    def _sees(self, who: str, place: int) -> bool:
        _, setting, members = self.said[place]
        membership = members.get(who, "leave")
        if setting == "world_readable" or membership == "join":
            return True
        if setting == "shared":
            return any(at > place and name == who for at, name in self.joins)
        return membership == "invite" and setting == "invited"

    def pages_back(self, who: str) -> set[str]:
        """The words on the way back: from where the reader left, unless the world may read."""
        end = len(self.said)
        if self.members.get(who) != "join" and self.setting != "world_readable":
            end = self.left.get(who, end)
        return self.sees(who) & {word for word, _, _ in self.said[:end]}

    def knows_topics(self, who: str) -> set[str]:
        """The topics that a reader may know: those of events that they may see, the one that
        was in force when they were invited, and, if they were in the room or the world may read
        it, all up to their leave, or to the last."""
        numbers = {word[4:-1] for word in self.sees(who)} if self.may_read(who) else set()
        if who in self.invited:
            numbers.add(str(self.invited[who] - 1))
        end = 0
        if self.members.get(who) == "join" or self.setting == "world_readable":
            end = len(self.said)
        elif any(name == who for _, name in self.joins):
            end = self.left[who]
        return {f"topic{n}x" for n in {*numbers, *map(str, range(end))}}

    def may_read(self, who: str) -> bool:
        """Whether the reader may read the room at all: a member, a former one, or anybody where
        the world may."""
        joined = any(name == who for _, name in self.joins)
        return joined or self.setting == "world_readable"


class Story:
    """A room, and what happens in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.past = Past()

    async def set(self, setting: str) -> None:
        path = f"/rooms/{self.world.room_id}/state/m.room.history_visibility"
        await self.world.call("dora", "PUT", path, {"history_visibility": setting})
        self.past.setting = setting
        await self.say()

    async def say(self) -> None:
        """One word, in one of the shapes of a message."""
        number = len(self.past.said)
        word = f"word{number}x"
        relation = [
            {},
            {"rel_type": "m.thread", "event_id": self.world.root},
            {"rel_type": "m.reference", "event_id": self.world.root},
        ][number % 3]
        extra = {"m.relates_to": relation} if relation else {}
        path = f"/rooms/{self.world.room_id}/state/m.room.topic"
        await self.world.call("dora", "PUT", path, {"topic": f"topic{number}x"})
        event_id = await self.world.say("dora", word, **extra)
        self.past.ids[word] = event_id
        self.past.said.append((word, self.past.setting, dict(self.past.members)))

    async def all_do(self, action: str, *names: str) -> None:
        for name in names:
            await self.do(action, name)
        await self.say()

    async def do(self, action: str, name: str) -> None:
        room = f"/rooms/{self.world.room_id}"
        if action in ("join", "leave"):
            await self.world.call(name, "POST", f"{room}/{action}", {})
        else:
            body = {"user_id": f"@{name}:one.test"}
            await self.world.call("dora", "POST", f"{room}/{action}", body)
        self.past.member(name, {"kick": "leave"}.get(action, action))


async def told(world: World) -> Story:
    """The whole story."""
    story = Story(world)
    for name in READERS:
        world.tokens[name] = await world.one.register(name)
    await story.say()
    await story.all_do("join", "early", "banned", "again")
    await story.set("invited")
    await story.all_do("invite", "invited", "late", "declines")
    await story.set("joined")
    await story.all_do("leave", "again")
    await story.set("world_readable")
    await story.all_do("leave", "early")
    await story.set("shared")
    await story.all_do("ban", "banned", "barred")
    await story.all_do("leave", "declines")
    await story.set("invited")
    await story.all_do("join", "late", "direct", "again")
    await story.set("joined")
    await story.set("shared")
    await story.all_do("leave", "again")
    return story


def paths(world: World) -> dict[str, str]:
    """Every way of reading the room with a plain request."""
    room, v1 = f"/rooms/{world.room_id}", f"/_matrix/client/v1/rooms/{world.room_id}"
    archived = '{"room":{"include_leave":true,"timeline":{"limit":100}}}'
    return {
        "sync": '/sync?filter={"room":{"timeline":{"limit":100}}}',
        "sync, archived": f"/sync?filter={archived}",
        "sync, full state": f"/sync?full_state=true&filter={archived}",
        "messages": f"{room}/messages?dir=b&limit=100",
        "messages, forwards": f"{room}/messages?dir=f&limit=100",
        "context of the root": f"{room}/context/{world.root}?limit=100",
        "state": f"{room}/state",
        "topic": f"{room}/state/m.room.topic",
        "members": f"{room}/members",
        "api: left": "/api/v1/conversations?state=left",
        "api: members": f"/api/v1/conversations/{world.room_id}/members",
        "relations": f"{v1}/relations/{world.root}?limit=100",
        "threads": f"{v1}/threads",
        "event of the root": f"{room}/event/{world.root}",
        "notifications": "/notifications?limit=100",
        "initial sync": "/initialSync?limit=100",
        "initial sync, archived": "/initialSync?limit=100&archived=true",
        "initial sync of the room": f"{room}/initialSync?limit=100",
        "events": "/events?from=s0&timeout=0",
        "peeking": f"/events?room_id={world.room_id}&timeout=0",
        "hierarchy": f"{v1}/hierarchy",
        "summary": f"/_matrix/client/v1/room_summary/{world.room_id}",
        **{way: path for way, (_, path) in api_paths(world).items()},
    }


async def answer(world: World, who: str, method: str, path: str, body: Any = None) -> str:
    """What is answered, be it a refusal."""
    status, text = await ask(world, who, method, path, body)
    assert status < 500, f"{who}: {method} {path}: {text}"
    return text


async def read(world: World, who: str) -> dict[str, str]:
    """All that a reader gets of the room, by the way."""
    answers = {way: await answer(world, who, "GET", p) for way, p in paths(world).items()}
    await world.one.wiring.conversations.finding.indexer.follower.caught_up()
    answers["graphql"] = await graphql(world, who)
    answers["sliding sync"] = await answer(world, who, "POST", LEGACY, sliding_body("x", 100))
    room = {"timeline_limit": 100, "required_state": [["*", "*"]]}
    body = {"conn_id": "sub", "room_subscriptions": {world.room_id: room}}
    answers["sliding sync, subscribed"] = await answer(world, who, "POST", LEGACY, body)
    return answers


async def found(world: World, who: str, word: str) -> str:
    """What a search for one word finds, on both ways of searching."""
    criteria = {"search_term": word, "event_context": {"before_limit": 9, "after_limit": 9}}
    body = {"search_categories": {"room_events": criteria}}
    matrix = await answer(world, who, "POST", "/search", body)
    ours = await answer(world, who, "GET", f"/api/v1/search/messages?query={word}")
    return matrix + ours


async def directly(world: World, who: str, event_id: str) -> dict[str, str]:
    """What a reader gets who knows the ID of an event."""
    room, v1 = f"/rooms/{world.room_id}", f"/_matrix/client/v1/rooms/{world.room_id}"
    ways = {
        "event": f"{room}/event/{event_id}",
        "events": f"/events/{event_id}",
        "context": f"{room}/context/{event_id}?limit=100",
        "relations": f"{v1}/relations/{event_id}",
        "api: message": f"/api/v1/conversations/{world.room_id}/messages/{event_id}",
        "api: around": f"/api/v1/conversations/{world.room_id}/messages?around={event_id}",
    }
    return {way: await answer(world, who, "GET", path) for way, path in ways.items()}


def words_of_page(text: str) -> set[str]:
    """What the events of a page say themselves; what is bundled with them may be of later."""
    contents = [event["content"] for event in orjson.loads(text)["chunk"]]
    return set(WORD.findall(orjson.dumps(contents).decode()))


async def check(story: Story, who: str, when: str) -> list[str]:
    """Each cell that is wrong."""
    world, past = story.world, story.past
    may_see = past.sees(who) if past.may_read(who) else set()
    wrong = []
    for way, text in (await read(world, who)).items():
        shown = set(WORD.findall(text))
        if shown - may_see:
            wrong.append(f"{when}: {who}: {way} shows {sorted(shown - may_see)}")
        complete = {"messages": past.pages_back(who), "messages, forwards": may_see}
        if (
            past.may_read(who)
            and way in complete
            and (told := words_of_page(text)) != complete[way]
        ):
            wrong.append(f"{when}: {who}: {way} has {sorted(told ^ complete[way])} wrong")
        topics = set(TOPIC.findall(text)) - past.knows_topics(who)
        if topics and way not in PREVIEWS:
            wrong.append(f"{when}: {who}: {way} shows {sorted(topics)}")
    for word, event_id in past.ids.items():
        around = set(WORD.findall(await found(world, who, word))) - {word}
        if around - may_see:
            wrong.append(f"{when}: {who}: search for {word} shows {sorted(around - may_see)}")
        for way, text in (await directly(world, who, event_id)).items():
            shown = set(WORD.findall(text))
            if shown - may_see:
                wrong.append(f"{when}: {who}: {way} of {word} shows {sorted(shown - may_see)}")
            if way in ("event", "events", "context") and word in may_see - shown:
                wrong.append(f"{when}: {who}: {way} of {word} does not show it: {text[:200]}")
    return wrong


@pytest.mark.parametrize("last", ["shared", "world_readable"])
async def test_each_reader_sees_what_the_rules_allow_on_every_way(
    database: Database, tmp_path: Path, last: str
) -> None:
    wrong: list[str] = []
    async with instance(database, tmp_path) as one:
        story = await told(await begin(one))
        if last == "world_readable":
            await story.set(last)
        story.world.around = story.world.root
        for who in READERS:
            wrong += await check(story, who, "first")
            wrong += await exported(one, story, who)
    async with instance(database, tmp_path) as one:
        story.world.one = one
        for who in READERS:
            wrong += await check(story, who, "restarted")

    assert not wrong, "\n".join(wrong)


async def exported(one: Instance, story: Story, who: str) -> list[str]:
    """What is wrong with a reader's export."""
    archive: Any = await export(one, story.world.tokens[who])
    shown = set(WORD.findall("".join(archive.text(name) for name in archive.zip.namelist())))
    allowed = story.past.sees(who) if story.past.may_read(who) else set()
    return [f"{who}: export shows {sorted(shown - allowed)}"] if shown - allowed else []


# ---------------------------------------------------------------- other instances


async def as_instance(story: Story) -> dict[str, set[str]]:
    """The words that the peer is shown, by the way that it asks."""
    world, base = story.world, "/_matrix/federation/v1"
    room, newest = quote(world.room_id, safe=""), list(story.past.ids.values())[-1]
    answers = {
        "backfill": await world.peer.ask(
            "GET", f"{base}/backfill/{room}?v={quote(newest, safe='')}&limit=100"
        )
    }
    body = {"earliest_events": [], "latest_events": [newest], "limit": 50}
    answers["missing events"] = await world.peer.ask(
        "POST", f"{base}/get_missing_events/{room}", body
    )
    events = []
    for event_id in story.past.ids.values():
        path = f"{base}/event/{quote(event_id, safe='')}"
        events.append(await world.peer.ask("GET", path))
    answers["event"] = (200, {"pdus": events})
    return {way: set(WORD.findall(str(answer))) for way, (_, answer) in answers.items()}


async def instances_story(world: World) -> Story:
    """Every setting, before and after the peer joins and leaves; its user is the reader."""
    story = Story(world)
    for setting in ("shared", "invited", "joined", "world_readable", "shared"):
        await story.set(setting)
    await world.peer.join(world.room_id)
    story.past.member("mallory", "join")
    for setting in ("joined", "invited", "shared", "world_readable", "joined"):
        await story.set(setting)
    return story


async def test_an_instance_is_shown_what_one_of_its_users_may_see(
    database: Database, tmp_path: Path
) -> None:
    wrong: list[str] = []
    async with instance(database, tmp_path) as one:
        story = await instances_story(await begin(one))
        expected = story.past.sees("mallory")
        for way, shown in (await as_instance(story)).items():
            # what is asked for by its descendants leaves the newest out
            newest = {story.past.said[-1][0]} if way == "missing events" else set()
            if shown != expected - newest:
                wrong.append(f"{way} shows {sorted(shown ^ expected)} too much, or not")

    assert not wrong, "\n".join(wrong)


async def test_an_instance_outside_is_shown_what_the_world_may_read(
    database: Database, tmp_path: Path
) -> None:
    async with instance(database, tmp_path) as one:
        story = Story(await begin(one))
        for setting in ("shared", "invited", "joined", "shared"):
            await story.set(setting)
        before = await as_instance(story)
        await story.set("world_readable")
        last = story.past.said[-1][0]

        shown = await as_instance(story)

    assert before == {"backfill": set(), "missing events": set(), "event": set()}
    assert shown == {"backfill": {last}, "missing events": set(), "event": {last}}


# ---------------------------------------------------------------- why something was redacted


async def test_why_something_was_redacted_is_for_who_may_see_the_redaction(
    database: Database, tmp_path: Path
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.join("carol")
        said = await world.say("alice", "unwise")
        await world.call("bob", "POST", f"/rooms/{world.room_id}/leave", {})
        await world.call(
            "carol",
            "PUT",
            "/user/@carol:one.test/account_data/m.ignored_user_list",
            {"ignored_users": {"@dora:one.test": {}}},
        )
        path = f"/rooms/{world.room_id}/redact/{said}/1"
        await world.call("dora", "PUT", path, {"reason": "word0x"})
        await world.say("alice", "the end")
        world.around = said

        for who, told in (("alice", True), ("bob", False), ("carol", False)):
            answers = {**await read(world, who), **await directly(world, who, said)}

            assert "unwise" not in str(answers), who
            shows = {way for way, text in answers.items() if "word0x" in text}
            assert bool(shows) == told, (who, shows)
            for way in ("messages", "event"):
                event = next(e for e in flat(answers[way]) if e.get("event_id") == said)
                assert event["unsigned"]["redacted_because"]["type"] == "m.room.redaction", who


def flat(answer: str) -> list[dict[str, Any]]:
    """The events of a page, or the one event."""
    value = orjson.loads(answer)
    events: list[dict[str, Any]] = value.get("chunk", [value])
    return events


# ---------------------------------------------------------------- what is counted


async def test_a_thread_counts_what_its_reader_may_see(database: Database, tmp_path: Path) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": world.root}}
        first = await world.say("dora", "while Bob is there", **thread)
        await world.call("bob", "POST", f"/rooms/{world.room_id}/leave", {})
        last = await world.say("dora", "after he left", **thread)

        seen = {who: await thread_of(world, who) for who in ("bob", "alice")}

    assert seen == {"bob": (1, first), "alice": (2, last)}


async def thread_of(world: World, who: str) -> tuple[int, str]:
    event = await world.call(who, "GET", f"/rooms/{world.room_id}/event/{world.root}")
    thread = event["unsigned"]["m.relations"]["m.thread"]
    return thread["count"], thread["latest_event"]["event_id"]


async def test_members_of_a_time_before_ones_join_are_those_of_the_join(
    database: Database, tmp_path: Path
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        path = f"/rooms/{world.room_id}/state/m.room.history_visibility"
        await world.call("dora", "PUT", path, {"history_visibility": "joined"})
        profile = "/profile/@alice:one.test/displayname"
        await world.call("alice", "PUT", profile, {"displayname": "word0x"})
        early = (await world.call("bob", "GET", "/sync"))["next_batch"]
        await world.call("alice", "PUT", profile, {"displayname": "word1x"})
        await world.join("carol")
        members = f"/rooms/{world.room_id}/members?at={early}"

        seen = {who: await answer(world, who, "GET", members) for who in ("bob", "carol")}

    assert WORD.findall(seen["bob"])[0] == "word0x"
    assert WORD.findall(seen["carol"]) == ["word1x"]
    assert "@carol:one.test" in seen["carol"]
