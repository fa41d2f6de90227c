"""``/sync`` and the reading of rooms over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from client_api.matrix import relations, room_reading, sync
from homeserver import app_keys
from homeserver.services.filters import FilterService
from homeserver.services.long_polls import LongPolls
from homeserver.services.sessions import SessionService
from homeserver.storage.database import Database
from tests.client_api.stage import bearer, serve
from tests.services.reading_world import Client, ReadingWorld


@pytest.fixture
async def world(database: Database) -> AsyncIterator[ReadingWorld]:
    world = ReadingWorld(database)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def alice(world: ReadingWorld) -> Client:
    return await world.client("alice")


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client) -> str:
    return await world.room(alice.user_id, preset="public_chat", name="Tea")


class Http:
    """Alice's client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def get(self, path: str, status: int = 200, user: str = "alice", **query: Any) -> Any:
        url = f"/_matrix/client/{'' if path.startswith('v1/') else 'v3/'}{path}"
        async with self._client.get(url, params=query, headers=bearer(f"{user}/PHONE")) as answer:
            body = await answer.json()
            assert answer.status == status, body
            return body


@pytest.fixture
async def http(world: ReadingWorld) -> AsyncIterator[Http]:
    parts = {
        app_keys.SYNC: world.reading.sync,
        app_keys.LONG_POLLS: LongPolls(
            database=world.database,
            sessions=SessionService(database=world.database, clock_ms=lambda: 0),
        ),
        app_keys.FILTERS: FilterService(database=world.database),
        app_keys.TIMELINE: world.reading.timeline,
        app_keys.TIMELINE_DATES: world.reading.dates,
        app_keys.TIMELINE_STATE: world.reading.timeline_state,
        app_keys.RELATIONS: world.reading.relations,
    }
    routes = [
        definition
        for module in (sync, room_reading, relations)
        for definition in module.routes.definitions
    ]
    async with serve(routes, parts) as client:
        yield Http(client)


async def test_sync_gap_and_history_fit_together(alice: Client, http: Http, room_id: str) -> None:
    for number in range(12):
        await alice.say(room_id, str(number))
    limit = orjson.dumps({"room": {"timeline": {"limit": 5}}}).decode()

    answer = await http.get("sync", filter=limit)
    timeline = answer["rooms"]["join"][room_id]["timeline"]
    page = await http.get(
        f"rooms/{quote(room_id)}/messages", dir="b", limit="5", **{"from": timeline["prev_batch"]}
    )
    again = await http.get("sync", since=answer["next_batch"], timeout="10")

    bodies = [event["content"]["body"] for event in timeline["events"]]
    assert bodies == ["7", "8", "9", "10", "11"]
    assert [event["content"]["body"] for event in page["chunk"]] == ["6", "5", "4", "3", "2"]
    assert page["start"] == timeline["prev_batch"]
    assert set(again) == {
        "next_batch",
        "to_device",
        "device_one_time_keys_count",
        "device_unused_fallback_key_types",
    }


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("sync", {"since": "garbage"}),
        ("sync", {"timeout": "soon"}),
        ("sync", {"timeout": "-1"}),
        ("sync", {"full_state": "perhaps"}),
        ("sync", {"set_presence": "asleep"}),
        ("sync", {"filter": "{"}),
        ("sync", {"filter": '{"room":1}'}),
        ("rooms/{room}/messages", {}),
        ("rooms/{room}/messages", {"dir": "x"}),
        ("rooms/{room}/messages", {"dir": "b", "from": "garbage"}),
        ("rooms/{room}/messages", {"dir": "b", "limit": "many"}),
        ("rooms/{room}/messages", {"dir": "b", "filter": "["}),
        ("rooms/{room}/messages", {"dir": "b", "filter": "[]"}),
        ("rooms/{room}/members", {"membership": "guest"}),
        ("rooms/{room}/members", {"at": "x"}),
        ("rooms/{room}/state/m.room.name", {"format": "xml"}),
        ("rooms/nothing/state", {}),
        ("v1/rooms/{room}/threads", {"include": "some"}),
        ("v1/rooms/{room}/threads", {"limit": "0"}),
        ("v1/rooms/{room}/relations/$event", {"dir": "x"}),
        ("v1/rooms/{room}/relations/$event", {"from": "x"}),
    ],
)
async def test_bad_parameters_are_refused(
    http: Http, room_id: str, path: str, query: dict[str, str]
) -> None:
    answer = await http.get(path.replace("{room}", quote(room_id)), 400, **query)

    assert answer["errcode"].startswith("M_")


async def test_an_unknown_filter_is_refused(http: Http, room_id: str) -> None:
    assert (await http.get("sync", 400, filter="12345"))["errcode"] == "M_INVALID_PARAM"


async def test_every_way_to_read_a_room(
    world: ReadingWorld, alice: Client, http: Http, room_id: str
) -> None:
    sent = await alice.say(room_id, "hello")
    room, event_id = f"rooms/{quote(room_id)}", quote(sent.event.event_id)

    assert (await http.get(f"{room}/state/m.room.name")) == {"name": "Tea"}
    assert (await http.get(f"{room}/state/m.room.name/", format="event"))["state_key"] == ""
    member = await http.get(f"{room}/state/m.room.member/{quote(alice.user_id)}")
    assert member["membership"] == "join"
    state = await http.get(f"{room}/state")
    assert {"m.room.create", "m.room.name"} <= {event["type"] for event in state}
    assert len((await http.get(f"{room}/members"))["chunk"]) == 1
    assert list((await http.get(f"{room}/joined_members"))["joined"]) == [alice.user_id]
    assert (await http.get("joined_rooms")) == {"joined_rooms": [room_id]}
    assert (await http.get(f"{room}/event/{event_id}"))["content"]["body"] == "hello"
    context = await http.get(f"{room}/context/{event_id}", limit="0")
    assert context["event"]["event_id"] == sent.event.event_id
    assert context["events_before"] == context["events_after"] == []
    near = await http.get(f"v1/{room}/timestamp_to_event", ts="0", dir="f")
    assert near["event_id"] == state_event_id(state, "m.room.create")


async def test_relations_and_threads(
    world: ReadingWorld, alice: Client, http: Http, room_id: str
) -> None:
    root = (await alice.say(room_id, "root")).event.event_id
    relation = {"rel_type": "m.thread", "event_id": root}
    reply = await alice.say(room_id, "reply", **{"m.relates_to": relation})
    room = f"v1/rooms/{quote(room_id)}"

    for path in ("", "/m.thread", "/m.thread/m.room.message"):
        answer = await http.get(f"{room}/relations/{quote(root)}{path}")
        assert [event["event_id"] for event in answer["chunk"]] == [reply.event.event_id]
    threads = await http.get(f"{room}/threads", include="participated")
    assert [event["event_id"] for event in threads["chunk"]] == [root]


def state_event_id(state: list[dict[str, Any]], type_: str) -> str:
    """The ID of a state event by type."""
    found: str = next(event["event_id"] for event in state if event["type"] == type_)
    return found


@pytest.mark.parametrize(
    "path", ["messages?dir=b", "state", "members", "joined_members", "state/m.room.name"]
)
async def test_strangers_may_not_read(
    world: ReadingWorld, http: Http, room_id: str, path: str
) -> None:
    await world.client("eve")
    path, _, query = path.partition("?")
    asked = dict([query.split("=")]) if query else {}

    answer = await http.get(f"rooms/{quote(room_id)}/{path}", 403, user="eve", **asked)

    assert answer["errcode"] == "M_FORBIDDEN"
