"""Every way by which a user, or another instance, reads what is in a room."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson

from homeserver.services.conversations.shapes.pages import make_cursor
from tests.integration.reading_world import OURS, SECRET, World
from tests.integration.sliding import ACCEPTED, LEGACY


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
