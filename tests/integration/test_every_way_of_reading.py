"""What must not be seen, or must be gone, on every way of reading.

Each kind of event that some reader may not have is made in four shapes (a message, a reply in a
thread, an edit, a reference), all of which bear one secret word; then every way of reading is
tried, before and after a restart.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import structlog

from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.services.conversations.shapes.pages import make_cursor
from homeserver.storage import outbox
from homeserver.storage.database import Database
from homeserver.storage.erasures import RETENTION
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.integration.sliding import ACCEPTED, LEGACY
from tests.integration.test_account_deletion import deactivate, places
from tests.integration.test_exports import export
from tests.integration.test_lying_peer import DAY_MS, KEY, MALLORY, PEER, LyingPeer
from tests.integration.test_message_ends import eventually
from tests.integration.test_real_deletion import picture, upload

SECRET, END = "xylophone", "the end"
QUEUE = "/_comity/admin/v1/moderation/queue"
OURS = "/_comity/client/v1"
SETTINGS: dict[str, Any] = {
    "federation": {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    },
    "consent": {"cross_instance": "implied"},
    "policy": {
        "rules": [
            {"name": "r-strip", "match": {"keywords": ["stripme"]}, "action": "strip"},
            {"name": "r-hold", "match": {"keywords": ["holdme"]}, "action": "hold"},
            {
                "name": "r-fail",
                "match": {"keywords": ["failme"], "direction": "in"},
                "action": "soft_fail",
            },
        ]
    },
}
EVENT_ID = re.compile(r"""['"](?:event_id|id|last_reply_id)['"]: ?['"](\$[^'"]+)['"]""")
MEDIA = {"delete_redacted_after": "0s", "unauthenticated_downloads": True}
SOON = {"dev.comity.expires": {"after_ms": 1000}}
ONCE = {"dev.comity.view_once": True}


@dataclass
class World:
    """A room with somebody who speaks, somebody who reads, and the peer."""

    one: Instance
    peer: LyingPeer
    tokens: dict[str, str]
    room_id: str
    root: str
    since: str = ""
    pos: str = ""
    around: str = ""
    secrets: list[str] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.one.wiring.database

    async def call(self, who: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return await self.one.call(method, path, body, token=self.tokens[who])

    async def join(self, who: str) -> None:
        if who not in self.tokens:
            self.tokens[who] = await self.one.register(who)
        await self.call(who, "POST", f"/rooms/{self.room_id}/join", {})

    async def say(self, who: str, text: str, **content: Any) -> str:
        """A message of a user, or of the peer's; its ID, once it is on disk."""
        if who != "mallory":
            sent = await self.one.say(self.tokens[who], self.room_id, text, **content)
            return str(sent["event_id"])
        body = {"msgtype": "m.text", "body": text, **content}
        return await self.deliver(self.peer.message(text, content=body))

    async def deliver(self, pdu: dict[str, Any]) -> str:
        event_id = id_of(pdu, V12)
        status, answer = await self.peer.send(pdu)
        assert (status, answer["pdus"][event_id]) == (200, {})
        await eventually(lambda: self.stored(event_id))
        self.peer.tip = [event_id]
        return event_id

    async def stored(self, event_id: str) -> bool:
        query = "SELECT count(*) FROM events WHERE event_id = $1"
        return bool(await self.database.fetchval(query, event_id))

    async def speak(self, who: str, mark: str = "", **content: Any) -> None:
        """The secret in its four shapes."""
        original = await self.say(who, "an original")
        relations: list[dict[str, Any]] = [
            {},
            {"rel_type": "m.thread", "event_id": self.root},
            {"rel_type": "m.replace", "event_id": original},
            {"rel_type": "m.reference", "event_id": self.root},
        ]
        for relation in relations:
            extra: dict[str, Any] = {"m.relates_to": relation} if relation else {}
            if relation.get("rel_type") == "m.replace":
                extra["m.new_content"] = {"msgtype": "m.text", "body": SECRET}
            text = f"{mark} {SECRET}".strip()
            self.secrets.append(await self.say(who, text, **extra, **content))

    async def settle(self, condition: str) -> None:
        """Wait until all that is secret fulfils a condition in the database."""
        query = f"SELECT count(*) FROM events WHERE event_id = ANY($1) AND {condition}"

        async def all_are() -> bool:
            return bool(await self.database.fetchval(query, self.secrets) == len(self.secrets))

        await eventually(all_are)

    async def decide(self, action: str) -> None:
        body = {"rule": "r-hold", "note": "no"}
        done = await self.call("moderator", "POST", f"{QUEUE}/{action}", body)
        assert len(done["items"]) == len(self.secrets)


# ---------------------------------------------------------------- the kinds


async def held(world: World, who: str) -> None:
    await world.speak(who, "holdme")
    await world.settle("withheld IS NOT NULL")


async def dropped(world: World, who: str) -> None:
    await held(world, who)
    await world.decide("drop")


async def soft_failed(world: World, who: str) -> None:
    await world.speak(who, "failme")
    await world.settle("soft_failed")


async def rejected(world: World, who: str) -> None:
    world.peer.auths, auths = world.peer.auths[:-1], world.peer.auths  # without their own join
    tip = world.peer.tip
    content = {"msgtype": "m.text", "body": SECRET}
    world.secrets.append(await world.deliver(world.peer.message(SECRET, content=content)))
    world.peer.auths, world.peer.tip = auths, tip
    await world.settle("rejected IS NOT NULL")


async def redacted(world: World, who: str) -> None:
    await world.speak(who)
    for event_id in world.secrets:
        path = f"/rooms/{world.room_id}/redact/{event_id}/{event_id[1:9]}"
        await world.call("dora", "PUT", path, {"reason": "no"})


async def expired(world: World, who: str) -> None:
    await world.speak(who, **SOON)
    await world.settle("erased = 'expired'")


async def viewed(world: World, who: str) -> None:
    await world.speak(who, **ONCE)
    for thread_id in ("main", world.root):
        where = world.secrets[-1] if thread_id == "main" else world.secrets[1]
        path = f"/rooms/{world.room_id}/receipt/m.read/{where}"
        await world.call("bob", "POST", path, {"thread_id": thread_id})
    await world.one.wiring.ends.work_off()
    for what in ("hide", "unhide"):  # what was viewed once does not come back
        path = f"{OURS}/rooms/{world.room_id}/{what}"
        await world.call("bob", "POST", path, {"event_ids": world.secrets})


async def purged(world: World, who: str) -> None:
    await world.speak(who)
    await world.one.wiring.ends.deletion.delete_event_content(
        world.secrets, why=RETENTION, tell=False
    )


async def hidden(world: World, who: str) -> None:
    await world.speak(who)
    path = f"{OURS}/rooms/{world.room_id}/hide"
    await world.call("bob", "POST", path, {"event_ids": world.secrets})
    for event_id in world.secrets[:2]:  # what corrects it later says the same
        relation = {"rel_type": "m.replace", "event_id": event_id}
        new = {"msgtype": "m.text", "body": SECRET}
        edit = await world.say(who, SECRET, **{"m.relates_to": relation, "m.new_content": new})
        world.secrets.append(edit)


async def of_a_blocked_user(world: World, who: str) -> None:
    await world.speak(who)
    peer = MALLORY if who == "mallory" else f"@{who}:one.test"
    await world.call("bob", "PUT", f"{OURS}/consent/message/{peer}", {"state": "denied"})


async def of_an_ignored_user(world: World, who: str) -> None:
    await world.speak(who)
    peer = MALLORY if who == "mallory" else f"@{who}:one.test"
    path = "/user/@bob:one.test/account_data/m.ignored_user_list"
    await world.call("bob", "PUT", path, {"ignored_users": {peer: {}}})


async def of_a_blocked_instance(world: World, who: str) -> None:
    await world.speak(who)
    await world.call("bob", "PUT", f"{OURS}/consent/message/{PEER}", {"state": "denied"})


async def of_an_erased_account(world: World, who: str) -> None:
    await world.call(who, "PUT", f"/profile/@{who}:one.test/displayname", named(SECRET))
    await world.speak(who)
    for event_id in world.secrets[:1]:  # the reason is theirs, too
        path = f"/rooms/{world.room_id}/redact/{event_id}/r"
        await world.call(who, "PUT", path, {"reason": SECRET})
    await deactivate(world.one, world.tokens[who], who, erase=True)


async def before_the_join(world: World, who: str) -> None:
    path = f"/rooms/{world.room_id}/state/m.room.history_visibility"
    await world.call("dora", "PUT", path, {"history_visibility": "joined"})
    await world.speak(who)


@dataclass(frozen=True)
class Kind:
    """A kind of event, and what becomes of it."""

    make: Callable[[World, str], Awaitable[None]]
    who: str = "alice"
    reader: str = "bob"
    never: bool = False  # nobody ever got it
    for_all: bool = True  # newcomers do not get it, either
    ids: bool = False  # its ID may be seen
    elsewhere: str = "whole"  # what other instances get: whole, redacted, absent
    deleted: bool = False  # from the database


KINDS = {
    "held": Kind(held, never=True, elsewhere="absent"),
    "held, of elsewhere": Kind(held, "mallory", never=True),
    "dropped": Kind(dropped, never=True, elsewhere="absent", deleted=True),
    "dropped, of elsewhere": Kind(
        dropped, "mallory", never=True, elsewhere="redacted", deleted=True
    ),
    "soft-failed": Kind(soft_failed, "mallory", never=True),
    "rejected": Kind(rejected, "mallory", never=True, elsewhere="absent"),
    "redacted": Kind(redacted, ids=True, elsewhere="redacted"),
    "redacted, of elsewhere": Kind(redacted, "mallory", ids=True, elsewhere="redacted"),
    "expired": Kind(expired, ids=True, elsewhere="redacted", deleted=True),
    "expired, of elsewhere": Kind(expired, "mallory", ids=True, elsewhere="redacted", deleted=True),
    "viewed once": Kind(viewed, for_all=False),
    "purged": Kind(purged, elsewhere="redacted", deleted=True),
    "hidden": Kind(hidden, for_all=False),
    "of a blocked user": Kind(of_a_blocked_user, for_all=False),
    "of a blocked user elsewhere": Kind(of_a_blocked_user, "mallory", for_all=False),
    "of an ignored user": Kind(of_an_ignored_user, for_all=False),
    "of a blocked instance": Kind(of_a_blocked_instance, "mallory", for_all=False),
    "of an erased account": Kind(
        of_an_erased_account, reader="carol", ids=True, elsewhere="redacted"
    ),
    "before the join": Kind(before_the_join, reader="carol", for_all=False, elsewhere="redacted"),
}


# ---------------------------------------------------------------- the ways


async def read_as_client(world: World, who: str) -> dict[str, tuple[bool, str]]:
    """Way -> whether it must show the end, and the answer."""
    room, v1 = f"/rooms/{world.room_id}", f"/_matrix/client/v1/rooms/{world.room_id}"

    def filtered(**of_room: Any) -> str:
        return quote(orjson.dumps({"room": of_room}).decode())

    lazy = {"lazy_load_members": True}
    format_only = quote(orjson.dumps({"event_format": "federation"}).decode())
    fields_only = quote(orjson.dumps({"event_fields": ["content", "unsigned"]}).decode())
    paths = {
        "sync": (True, "/sync"),
        "sync, full state": (True, f"/sync?full_state=true&since={world.since}"),
        "sync, federation format": (True, f"/sync?filter={format_only}"),
        "sync, some fields": (True, f"/sync?filter={fields_only}"),
        "sync, lazy": (True, f"/sync?filter={filtered(state=lazy, timeline=lazy)}"),
        "sync, late": (True, f"/sync?since={world.since}"),
        "sync, state after": (True, "/sync?use_state_after=true&since=" + world.since),
        "messages": (True, f"{room}/messages?dir=b&limit=100"),
        "messages, lazy": (
            True,
            f"{room}/messages?dir=b&limit=100&filter={quote(orjson.dumps(lazy).decode())}",
        ),
        "messages, forwards": (True, f"{room}/messages?dir=f&limit=100"),
        "messages, since": (True, f"{room}/messages?dir=f&limit=100&from={world.since}"),
        "context": (True, f"{room}/context/{world.around}?limit=100"),
        "relations, 1": (False, f"{v1}/relations/{world.root}?recurse=true"),
        "relations, 2": (False, f"{v1}/relations/{world.root}/m.thread"),
        "relations, 3": (False, f"{v1}/relations/{world.root}/m.thread/m.room.message"),
        "references": (False, f"{v1}/relations/{world.root}/m.reference?dir=f"),
        "event of the root": (False, f"{room}/event/{world.root}"),
        "threads": (False, f"{v1}/threads"),
        "state": (False, f"{room}/state"),
        "members": (False, f"{room}/members"),
        "member": (False, f"{room}/state/m.room.member/@alice:one.test"),
        "joined members": (False, f"{room}/joined_members"),
        "hierarchy": (False, f"{v1}/hierarchy"),
        "search": (False, "/search"),
        "notifications": (False, "/notifications"),
        "public rooms": (False, "/publicRooms"),
        "summary": (False, f"/_matrix/client/v1/room_summary/{world.room_id}"),
        "initial sync": (True, "/initialSync?limit=100"),
        "initial sync, archived": (True, "/initialSync?limit=100&archived=true"),
        "initial sync of the room": (True, f"{room}/initialSync?limit=100"),
        "events": (bool(world.since), f"/events?from={world.since}&timeout=0"),
        "peeking": (False, f"/events?room_id={world.room_id}&from={world.since}&timeout=0"),
        **api_paths(world),
    }
    answers = {way: (shows, await raw(world, who, path)) for way, (shows, path) in paths.items()}
    await world.one.wiring.conversations.finding.indexer.follower.caught_up()
    path = f"/api/v1/search/messages?query={SECRET}"
    answers["api: search"] = (False, await raw(world, who, path))
    for kind in ("text", "system"):
        path = f"/api/v1/search/messages?kind={kind}&limit=100"
        answers[f"api: search for {kind}"] = (False, await raw(world, who, path))
    body = {"search_categories": {"room_events": {"search_term": SECRET}}}
    answers["search"] = (False, (await ask(world, who, "POST", "/search", body))[1])
    answers["limited"] = (True, await limited(world, who))
    answers["graphql"] = (True, await graphql(world, who))
    for way, text in (await slide(world, who)).items():
        answers[f"sliding sync, {way}"] = (True, text)
    for direction in "fb":
        answers[f"near {direction}"] = (False, await near(world, who, direction))
    return answers


def api_paths(world: World) -> dict[str, tuple[bool, str]]:
    """The ways of the Conversations API."""
    conversation = f"/api/v1/conversations/{world.room_id}"
    messages = f"{conversation}/messages"
    forwards = make_cursor("f", -(2**62))
    return {
        "api: messages": (True, f"{messages}?limit=100"),
        "api: messages, forwards": (True, f"{messages}?limit=100&cursor={forwards}"),
        "api: around": (True, f"{messages}?limit=100&around={world.around}"),
        "api: around the root": (False, f"{messages}?limit=100&around={world.root}"),
        "api: thread": (False, f"{messages}?limit=100&thread={world.root}"),
        "api: the root": (False, f"{messages}/{world.root}"),
        "api: edits of the root": (False, f"{messages}/{world.root}/edits"),
        "api: conversation": (False, conversation),
        "api: conversations": (False, "/api/v1/conversations"),
    }


async def ask(world: World, who: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """One request, whatever its status."""
    url = path if path.startswith(("/_", "/api/")) else f"/_matrix/client/v3{path}"
    headers = {"Authorization": f"Bearer {world.tokens[who]}"}
    async with world.one.client.request(method, url, json=body, headers=headers) as response:
        return response.status, await response.text()


async def raw(world: World, who: str, path: str) -> str:
    status, text = await ask(world, who, "GET", path)
    assert status < 500, path
    return text


GRAPHQL = """query ($id: String!) {
    messages(conversationId: $id, first: 50) { nodes { id text deleted { reason } } }
    conversations(limit: 20) { items { id lastMessage { id text } } }
}"""


async def graphql(world: World, who: str) -> str:
    """A page of the room, and the last message of each, in one query."""
    body = {"query": GRAPHQL, "variables": {"id": world.room_id}}
    return (await ask(world, who, "POST", "/api/graphql", body))[1]


async def limited(world: World, who: str) -> str:
    """A limited timeline, and what is before it."""
    limit = quote(orjson.dumps({"room": {"timeline": {"limit": 1}}}).decode())
    path = f"/sync?filter={limit}" + (f"&since={world.since}" if world.since else "")
    part = (await world.call(who, "GET", path))["rooms"]["join"][world.room_id]
    timeline = part["timeline"]
    path = f"/rooms/{world.room_id}/messages?dir=b&limit=100&from={timeline['prev_batch']}"
    return str(part) + await raw(world, who, path)


async def slide(world: World, who: str) -> dict[str, str]:
    """What sliding sync shows: at first, of a larger timeline, and since an early ``pos``."""
    found = {}
    for name, path in (("legacy", LEGACY), ("accepted", ACCEPTED)):
        small = sliding_body(name, 1)
        first = await world.call(who, "POST", path, small)
        large = sliding_body(name, 100)
        _, text = await ask(world, who, "POST", f"{path}?pos={first['pos']}", large)
        found[f"{name}, expanded"] = str(first) + text
        found[name] = (await ask(world, who, "POST", path, sliding_body(f"{name} first", 100)))[1]
    if world.since and world.pos:
        late = sliding_body("early", 100)
        found["late"] = (await ask(world, who, "POST", f"{LEGACY}?pos={world.pos}", late))[1]
    return found


def sliding_body(conn_id: str, limit: int) -> dict[str, Any]:
    rooms = {"timeline_limit": limit, "required_state": [["*", "*"]], "ranges": [[0, 99]]}
    names = ("account_data", "receipts", "typing", "to_device", "e2ee", "dev.comity.ended")
    return {
        "conn_id": conn_id,
        "lists": {"all": rooms},
        "extensions": {name: {"enabled": True} for name in names},
    }


async def near(world: World, who: str, direction: str) -> str:
    """The events that are nearest to the times of all that is secret."""
    found = []
    query = "SELECT origin_server_ts FROM events WHERE event_id = ANY($1)"
    for row in await world.database.fetch(query, world.secrets):
        at = f"dir={direction}&ts={row['origin_server_ts']}"
        path = f"/_matrix/client/v1/rooms/{world.room_id}/timestamp_to_event?{at}"
        found.append(await raw(world, who, path))
    return "".join(found)


async def direct(
    world: World, who: str, event_id: str, *, hide: bool
) -> dict[str, tuple[int, str]]:
    """What somebody gets who knows the event's ID."""
    room, v1 = f"/rooms/{world.room_id}", f"/_matrix/client/v1/rooms/{world.room_id}"
    reading = {
        "event": f"{room}/event/{event_id}",
        "context": f"{room}/context/{event_id}",
        "relations": f"{v1}/relations/{event_id}",
    }
    answers = {way: await ask(world, who, "GET", path) for way, path in reading.items()}
    message = f"/api/v1/conversations/{world.room_id}/messages/{event_id}"
    for way in ("", "/edits", "/reactions", "/votes"):
        answers[f"api: message{way}"] = await ask(world, who, "GET", message + way)
    forward = {"conversation_ids": [world.room_id]}
    answers["api: forward"] = await ask(world, who, "POST", f"{message}/forward", forward)
    report = f"{room}/report/{event_id}"
    answers["report"] = await ask(world, who, "POST", report, {"reason": "bad"})
    if hide:
        path = f"{OURS}/rooms/{world.room_id}/hide"
        answers["hide"] = await ask(world, who, "POST", path, {"event_ids": [event_id]})
    return answers


async def read_as_instance(world: World) -> dict[str, str]:
    """What another instance gets, by the way that it asks."""
    base, room = "/_matrix/federation/v1", quote(world.room_id, safe="")
    tip = quote(world.around, safe="")
    paths = {
        "backfill": f"{base}/backfill/{room}?v={tip}&limit=100",
        "state": f"{base}/state/{room}?event_id={tip}",
        "state_ids": f"{base}/state_ids/{room}?event_id={tip}",
        "event_auth": f"{base}/event_auth/{room}/{tip}",
    }
    for number, event_id in enumerate(world.secrets):
        paths[f"event {number}"] = f"{base}/event/{quote(event_id, safe='')}"
    answers = {way: str(await world.peer.ask("GET", path)) for way, path in paths.items()}
    body = {"earliest_events": [], "latest_events": [world.around], "limit": 50}
    path = f"{base}/get_missing_events/{room}"
    answers["missing events"] = str(await world.peer.ask("POST", path, body))
    return answers


# ---------------------------------------------------------------- making a world


@asynccontextmanager
async def instance(database: Database, tmp_path: Path, **settings: Any) -> AsyncIterator[Instance]:
    settings = {**SETTINGS, "data_dir": str(tmp_path / "data"), **settings}
    async with running(database, tmp_path, **settings) as one:
        now = await database.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        yield one


async def begin(one: Instance) -> World:
    names = ("dora", "alice", "bob", "moderator")
    tokens = {name: await one.register(name) for name in names}
    await one.wiring.accounts.set_admin("@moderator:one.test", True)
    room_id = await one.room(tokens["dora"], power_level_content_override={"redact": 0})
    root = (await one.say(tokens["dora"], room_id, "a root"))["event_id"]
    world = World(one, LyingPeer(one), tokens, room_id, root)
    for who in ("alice", "bob"):
        await world.join(who)
    return world


def seen(kind: Kind, world: World, text: str) -> list[str]:
    """What of the secret shows in an answer."""
    found = [SECRET] if SECRET in text else []
    if kind.ids:
        return found
    # not where another event cites it, or the reader's own receipt or list of what they hid
    return found + [m[0] for m in EVENT_ID.finditer(text) if m[1] in world.secrets]


async def check_client(world: World, kind: Kind, who: str, *, way_of: str) -> list[str]:
    """Each cell that is wrong."""
    wrong = []
    for way, (shows_end, text) in (await read_as_client(world, who)).items():
        if found := seen(kind, world, text):
            place = text.find(found[0])
            around = text[max(0, place - 300) : place + 200]
            wrong.append(f"{way_of}: {way} shows {found}: {around}")
        if shows_end and END not in text:
            wrong.append(f"{way_of}: {way} does not show the end")
    for event_id in world.secrets:
        hide = kind.for_all and not kind.ids  # else it would hide what the next look is to find
        for way, (status, text) in (await direct(world, who, event_id, hide=hide)).items():
            if SECRET in text or (not kind.ids and status != 404) or status >= 500:
                wrong.append(f"{way_of}: {way} of {event_id} is {status}: {text}")
    return wrong


async def check_unread(world: World, kind: Kind, who: str) -> list[str]:
    """The count is that of the messages that the reader sees, edits aside."""
    if kind.ids or kind.make in (viewed, purged):
        return []  # redacted ones count on; the reader has read; the purge forgets by and by
    part = (await world.call(who, "GET", "/sync"))["rooms"]["join"][world.room_id]
    path = f"/rooms/{world.room_id}/messages?dir=f&limit=100"
    chunk = (await world.call(who, "GET", path))["chunk"]
    joined = max(
        place for place, event in enumerate(chunk) if event.get("state_key") == f"@{who}:one.test"
    )
    expected = [
        event
        for event in chunk[joined:]
        if event["type"] == "m.room.message"
        and event["content"].get("m.relates_to", {}).get("rel_type") != "m.replace"
    ]
    count = part["unread_notifications"]["notification_count"]
    return [] if count == len(expected) else [f"unread: {count} for {len(expected)}"]


async def check_instance(world: World, kind: Kind) -> list[str]:
    wrong = []
    for way, text in (await read_as_instance(world)).items():
        if kind.elsewhere != "whole" and SECRET in text:
            wrong.append(f"instance: {way} shows the secret")
        absent = kind.elsewhere == "absent" and way.startswith("event ")
        if absent and not text.startswith("(404"):
            wrong.append(f"instance: {way} is {text}")
        if way == "backfill" and END not in text:
            wrong.append(f"instance: {way} has no end: {text}")
    wrong += [f"send_join: {pdu}" for pdu in world.peer.answered if SECRET in str(pdu)]
    query = "SELECT DISTINCT servers FROM destination_sets"
    for row in await world.database.fetch(query):
        for server in row["servers"]:
            for pending in await outbox.get_pending(world.database, server, 0, 100):
                body = orjson.dumps(orjson.loads(pending.pdu)).decode()
                if kind.elsewhere != "whole" and SECRET in body and not pending.redacted:
                    wrong.append(f"instance: the outbox has {pending.event_id}")
    return wrong


@pytest.mark.parametrize("name", list(KINDS))
async def test_what_is_not_for_a_reader_is_on_no_way_of_reading(
    database: Database, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name]
    wrong: list[str] = []
    with structlog.testing.capture_logs() as logged:
        async with instance(database, tmp_path) as one:
            world = await begin(one)
            newcomer_kind = kind.reader == "carol"
            if not newcomer_kind:
                await world.peer.join(world.room_id)
                synced = await world.call(kind.reader, "GET", "/sync")
                world.since = synced["next_batch"]
                begun = sliding_body("early", 100)
                world.pos = (await world.call(kind.reader, "POST", LEGACY, begun))["pos"]
            waiting = None
            if kind.never:
                path = f"/sync?timeout=30000&since={world.since}"
                waiting = asyncio.create_task(follow(world, kind.reader, path))
            await kind.make(world, kind.who)
            if newcomer_kind:
                await world.peer.join(world.room_id)
                await world.join("carol")
            world.around = await world.say("dora", END)
            if waiting is not None:
                wrong += [f"sync, waiting: {found}" for found in seen(kind, world, await waiting)]
            wrong += await check_client(world, kind, kind.reader, way_of="first")
            wrong += await check_unread(world, kind, kind.reader)
            archive = await export(one, world.tokens[kind.reader])
            files = [n for n in archive.zip.namelist() if n.startswith("rooms/")]
            text = "".join(archive.text(n) for n in files)
            wrong += [f"export: {found}" for found in seen(kind, world, text)]
            assert END in text
            if kind.for_all:
                await world.join("newcomer")
                world.since, since = "", world.since
                wrong += await check_client(world, kind, "newcomer", way_of="newcomer")
                world.since = since
            wrong += await check_instance(world, kind)
            if kind.deleted:
                await one.wiring.ends.work_off()
                wrong += [f"database: {place}" for place in await places(database, SECRET)]
                wrong += [f"memory: {place}" for place in remembered(world)]
        async with instance(database, tmp_path) as one:
            world.one = world.peer.one = one
            wrong += await check_client(world, kind, kind.reader, way_of="restarted")
            wrong += await check_unread(world, kind, kind.reader)
            wrong += await check_instance(world, kind)
    for entry in logged:
        if SECRET in str(entry) or any(token in str(entry) for token in world.tokens.values()):
            wrong.append(f"logged: {entry}")
        if entry["log_level"] in ("error", "critical"):
            wrong.append(f"error: {entry}")

    assert not wrong, "\n".join(wrong)


async def follow(world: World, who: str, path: str) -> str:
    """All that a waiting client gets, up to the end."""
    got = ""
    while END not in got:
        answer = await world.call(who, "GET", path)
        got += str(answer)
        path = re.sub(r"since=[^&]*", f"since={answer['next_batch']}", path)
    return got


def remembered(world: World) -> list[str]:
    """Caches that keep what was deleted."""
    wiring = world.one.wiring
    found = []
    for event_id in world.secrets:
        stored = wiring.store._cache.get(event_id)
        if stored is not None and SECRET in str(stored.event.pdu):
            found.append("event store")
    if any(SECRET.encode() in shared for shared in wiring.reading.client_events._shared.values()):
        found.append("client events")
    room = wiring.reading.recent.room(world.room_id)
    if room is not None and any(SECRET in str(r.stored.event.pdu) for r in room.events):
        found.append("recent timeline")
    live = wiring.live_rooms.cached(world.room_id)
    if live is not None and any(SECRET in str(e.pdu) for e in live.extremities.values()):
        found.append("extremities")
    return found


# ---------------------------------------------------------------- state


async def test_state_that_was_redacted_is_redacted_for_all(
    database: Database, tmp_path: Path
) -> None:
    states = {"m.room.name": "name", "m.room.topic": "topic", "m.room.avatar": "url"}
    wrong: list[str] = []
    kind = Kind(redacted, ids=True, elsewhere="redacted")
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        for event_type, field_name in states.items():
            path = f"/rooms/{world.room_id}/state/{event_type}"
            answer = await world.call("dora", "PUT", path, {field_name: SECRET})
            event_id = answer["event_id"]
            undo = f"/rooms/{world.room_id}/redact/{event_id}/{field_name}"
            await world.call("dora", "PUT", undo, {})
        await world.call("alice", "PUT", "/profile/@alice:one.test/displayname", named(SECRET))
        member = f"/rooms/{world.room_id}/state/m.room.member/@alice:one.test"
        found = await world.call("alice", "GET", f"{member}?format=event")
        path = f"/rooms/{world.room_id}/redact/{found['event_id']}/member"
        await world.call("alice", "PUT", path, {})
        await world.call("alice", "PUT", "/profile/@alice:one.test/displayname", named("alice"))
        await world.peer.join(world.room_id)
        world.around = await world.say("dora", END)
        invited = await one.register("invited")
        path = f"/rooms/{world.room_id}/invite"
        await world.call("dora", "POST", path, {"user_id": "@invited:one.test"})

        for restarted in (False, True):
            wrong += await check_client(world, kind, "bob", way_of=f"restarted {restarted}")
            wrong += await check_instance(world, kind)
            world.tokens["invited"] = invited
            wrong += [w for w in (await raw(world, "invited", "/sync"),) if SECRET in w]
            wrong += [w for w in (await raw(world, "bob", "/publicRooms"),) if SECRET in w]
            live = await one.wiring.rooms.get(world.room_id)
            wrong += [f"live: {key}" for key, e in live._events.items() if SECRET in str(e.pdu)]
            one.wiring.live_rooms.drop(world.room_id)

    assert not wrong, "\n".join(wrong)


def named(name: str) -> dict[str, str]:
    return {"displayname": name}


# ---------------------------------------------------------------- history that a peer gives


async def history(world: World, *pdus: dict[str, Any]) -> None:
    """Have the instance fetch history, which the peer makes up."""
    backfill = world.one.wiring.backfill

    class Client:
        async def get(self, server: str, path: str, **_: Any) -> dict[str, Any]:
            return {"pdus": list(pdus)} if "/backfill/" in path else {}

    backfill._client = Client()  # type: ignore[assignment]
    await world.database.execute(
        "INSERT INTO backward_extremities (room_id, event_id, successor_id) VALUES ($1, $2, $3) "
        "ON CONFLICT DO NOTHING",
        world.room_id,
        "$" + "x" * 43,
        world.root,
    )
    await world.call("bob", "GET", f"/rooms/{world.room_id}/messages?dir=b&limit=100")


async def test_fetched_history_is_found_by_a_search(database: Database, tmp_path: Path) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        await history(world, world.peer.message("a late arrival"))
        await one.wiring.conversations.finding.indexer.follower.caught_up()

        page = orjson.loads(await raw(world, "bob", "/api/v1/search/messages?query=late"))

        assert [item["message"]["text"] for item in page["items"]] == ["a late arrival"]


@pytest.mark.parametrize("make", [soft_failed, rejected])
async def test_fetched_history_brings_back_nothing_that_is_kept_unshown(
    database: Database, tmp_path: Path, make: Callable[[World, str], Awaitable[None]]
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        world.since = (await world.call("bob", "GET", "/sync"))["next_batch"]
        await make(world, "mallory")
        world.around = await world.say("dora", END)
        query = "SELECT pdu FROM events WHERE event_id = ANY($1)"
        rows = await database.fetch(query, world.secrets)

        await history(world, *(orjson.loads(row["pdu"]) for row in rows))

        wrong = await check_client(world, Kind(make, "mallory"), "bob", way_of="fetched")
        assert not wrong, "\n".join(wrong)


async def test_fetched_history_passes_the_same_rules(database: Database, tmp_path: Path) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        peer = world.peer
        await peer.join(world.room_id)
        world.around = await world.say("dora", END)
        held_back, failed, fine, redacted_later = (
            peer.message(text) for text in ("holdme", "failme", "fine", "take this back")
        )
        not_allowed = peer.message("without a join", auth_events=peer.auths[:-1])
        powerless = peer.message("", type="m.room.topic", state_key="", content={"topic": "mine"})
        back = id_of(redacted_later, V12)
        redaction = peer.message("", type="m.room.redaction", content={"redacts": back})
        await one.call(
            "PUT",
            f"/rooms/{world.room_id}/state/m.room.power_levels",
            {"users": {}, "redact": 50, "events": {}},
            token=world.tokens["dora"],
        )
        theirs = peer.message("", type="m.room.redaction", content={"redacts": world.root})

        await history(world, held_back, failed, fine, not_allowed, powerless, redaction, theirs)
        before = await one.texts(world.tokens["bob"], world.room_id)
        await history(world, redacted_later)
        after = await one.texts(world.tokens["bob"], world.room_id)

        assert sorted(before) == sorted(["fine", "a root", END])
        assert after == before
        state = await raw(world, "bob", f"/rooms/{world.room_id}/messages?dir=b&limit=100")
        assert "mine" not in state
        items = (await world.call("moderator", "GET", f"{QUEUE}?kind=held"))["items"]
        assert [item["event_id"] for item in items] == [id_of(held_back, V12)]
        event = await world.call("bob", "GET", f"/rooms/{world.room_id}/event/{back}")
        assert event["unsigned"]["redacted_because"]["event_id"] == id_of(redaction, V12)
        path = f"{QUEUE}/{items[0]['item_id']}/release"
        await world.call("moderator", "POST", path, {})
        released = await one.texts(world.tokens["bob"], world.room_id)
        assert sorted(released) == sorted([*before, "holdme"])


async def test_a_redaction_that_comes_first_redacts_what_comes_later(
    database: Database, tmp_path: Path
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        peer = world.peer
        await peer.join(world.room_id)
        late = peer.message(SECRET)
        late_id = id_of(late, V12)
        content = {"redacts": late_id}
        redaction = await world.deliver(peer.message("", type="m.room.redaction", content=content))

        await world.deliver(late)
        world.around = await world.say("dora", END)

        world.secrets = [late_id]
        kind = Kind(redacted, "mallory", ids=True, elsewhere="redacted")
        wrong = await check_client(world, kind, "bob", way_of="late")
        wrong += await check_instance(world, kind)
        assert not wrong, "\n".join(wrong)
        event = await world.call("bob", "GET", f"/rooms/{world.room_id}/event/{late_id}")
        assert event["unsigned"]["redacted_because"]["event_id"] == redaction


# ---------------------------------------------------------------- files


async def strip(world: World, uri: str) -> dict[str, int]:
    await show(world, uri, "stripme")
    return dict.fromkeys(FILE_WAYS, 403)


async def view(world: World, uri: str) -> dict[str, int]:
    event_id = await show(world, uri, "once", **ONCE)
    path = f"/rooms/{world.room_id}/receipt/m.read/{event_id}"
    await world.call("bob", "POST", path, {})
    await world.one.wiring.ends.work_off()
    await world.database.execute("UPDATE message_views SET seen_at = 0")
    # other instances' users have not seen it
    return dict.fromkeys(FILE_WAYS, 404) | {"federation": 200, "federation thumbnail": 200}


async def redact_it(world: World, uri: str) -> dict[str, int]:
    event_id = await show(world, uri, "gone soon")
    await world.call("alice", "PUT", f"/rooms/{world.room_id}/redact/{event_id}/1", {})
    await world.one.wiring.ends.work_off()
    return dict.fromkeys(FILE_WAYS, 404)


async def drop_it(world: World, uri: str) -> dict[str, int]:
    world.secrets.append(await show(world, uri, "holdme"))
    await world.decide("drop")
    await world.one.wiring.ends.work_off()
    return dict.fromkeys(FILE_WAYS, 404)


async def erase_owner(world: World, uri: str) -> dict[str, int]:
    await show(world, uri, "mine")
    await deactivate(world.one, world.tokens["alice"], "alice", erase=True)
    await world.one.wiring.ends.work_off()
    return dict.fromkeys(FILE_WAYS, 404)


async def show(world: World, uri: str, text: str, **content: Any) -> str:
    return await world.say("alice", text, msgtype="m.image", url=uri, **content)


FILE_WAYS = {
    "download": "/_matrix/client/v1/media/download/one.test/{id}",
    "download, named": "/_matrix/client/v1/media/download/one.test/{id}/a.png",
    "thumbnail": "/_matrix/client/v1/media/thumbnail/one.test/{id}?width=32&height=32",
    "legacy": "/_matrix/media/v3/download/one.test/{id}",
    "legacy, named": "/_matrix/media/r0/download/one.test/{id}/a.png",
    "legacy thumbnail": "/_matrix/media/v3/thumbnail/one.test/{id}?width=32&height=32",
    "federation": "/_matrix/federation/v1/media/download/{id}",
    "federation thumbnail": "/_matrix/federation/v1/media/thumbnail/{id}?width=32&height=32",
}


async def statuses(world: World, uri: str) -> dict[str, int]:
    """What Bob, nobody, and the other instance get, by the way that they ask."""
    media_id = uri.rpartition("/")[2]
    found = {}
    for way, path in FILE_WAYS.items():
        url = path.format(id=media_id)
        headers = {"Authorization": f"Bearer {world.tokens['bob']}"}
        if way.startswith("legacy"):
            headers = {}
        elif way.startswith("federation"):
            headers = {"Authorization": world.peer.signed("GET", url)}
        async with world.one.client.get(url, headers=headers) as response:
            await response.read()
            found[way] = response.status
    return found


@pytest.mark.parametrize("make", [strip, view, redact_it, drop_it, erase_owner])
async def test_a_file_that_is_withheld_or_gone_is_had_on_no_way(
    database: Database, tmp_path: Path, make: Callable[[World, str], Awaitable[dict[str, int]]]
) -> None:
    async with instance(database, tmp_path, media=MEDIA) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        uri = await upload(one, world.tokens["alice"], picture("red"))
        before = await statuses(world, uri)

        expected = await make(world, uri)

        assert before == dict.fromkeys(FILE_WAYS, 200)  # thumbnails are made
        assert await statuses(world, uri) == expected
    async with instance(database, tmp_path, media=MEDIA) as one:
        world.one = world.peer.one = one
        assert await statuses(world, uri) == expected


@pytest.mark.parametrize("refused", [{}, {"auth_events": []}])
async def test_what_is_kept_unshown_is_purged_as_well(
    database: Database, tmp_path: Path, refused: dict[str, Any]
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        now = await database.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        text = f"failme {SECRET}"
        old = world.peer.message(text, origin_server_ts=now - 2 * DAY_MS, **refused)
        event_id = await world.deliver(old)
        kept = await database.fetchval(
            "SELECT soft_failed OR rejected IS NOT NULL FROM events WHERE event_id = $1", event_id
        )

        path = f"/rooms/{world.room_id}/state/m.room.retention"
        await world.call("dora", "PUT", path, {"max_lifetime": DAY_MS})
        await one.wiring.ends.work_off()

        assert kept
        assert await places(database, SECRET) == set()
