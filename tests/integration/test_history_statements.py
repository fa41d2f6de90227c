"""History between instances, statement by statement of the spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.storage.database import Database

from .outside import V1, Outside, beside, now_ms


def text(body: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": body}


async def test_history_may_cite_more_events_than_what_is_new(
    database: Database, tmp_path: Path
) -> None:
    """ "The response of backfill MUST NOT be validated on these specific restrictions." """
    async with beside(database, tmp_path) as (one, net):
        alice = await one.register("alice")
        outside = Outside(one, await net.peer())
        outside.let_in()
        before = outside.history[-1:]
        forks = [
            outside.make("m.room.message", text(f"fork {number}"), prevs=before)
            for number in range(21)
        ]
        wide = outside.add("m.room.message", text("wide"), None, prevs=forks)
        outside.add("m.room.message", text("last"), None)
        pdus = [event.pdu for event in (outside.history[-1], wide)]
        answer = {"origin": outside.name, "origin_server_ts": now_ms(), "pdus": pdus}
        outside.answer(f"{V1}/backfill", lambda _: answer)
        path = f"/join/{outside.room_id}?server_name={outside.name}"
        await one.call("POST", path, {}, token=alice)

        assert await one.texts(alice, outside.room_id) == ["wide", "last"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "backfill/{room}?limit=5", None),
        ("GET", "backfill/{room}?v={event}", None),
        ("GET", "state/{room}", None),
        ("GET", "state_ids/{room}", None),
        ("GET", "timestamp_to_event/{room}?dir=f", None),
        ("GET", "timestamp_to_event/{room}?ts=1", None),
        ("POST", "get_missing_events/{room}", {"latest_events": []}),
        ("POST", "get_missing_events/{room}", {"earliest_events": []}),
        ("GET", "query/profile", None),
        ("GET", "query/directory", None),
    ],
)
async def test_what_is_required_is_missed(
    database: Database, tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with beside(database, tmp_path) as (one, net):
        outside = Outside(one, await net.peer())
        room = quote(await one.room(await one.register("alice")), safe="")
        path = path.format(room=room, event=quote("$" + "x" * 43))

        status, answer = await outside.ask(method, f"{V1}/{path}", body)

        assert (status, answer["errcode"]) == (400, "M_MISSING_PARAM")


async def test_what_is_wrong_with_one_thing_does_not_fail_a_transaction(
    database: Database, tmp_path: Path
) -> None:
    """ "The server is to use this response even in the event of one or more PDUs failing." """
    async with beside(database, tmp_path) as (one, net):
        outside = Outside(one, await net.peer())
        room_id = await one.room(await one.register("alice"))
        nowhere = "!a\0b:two.test"
        typing = {"room_id": nowhere, "user_id": outside.owner, "typing": True}
        read = {"m.read": {outside.owner: {"event_ids": ["$a\0"], "data": {"ts": 1}}}}
        body = {
            "origin": outside.name,
            "origin_server_ts": now_ms(),
            "pdus": [
                {"room_id": nowhere, "type": "m.room.message"},
                {"room_id": room_id, "type": "a\0", "content": {"\0": "\0"}},
            ],
            "edus": [
                {"edu_type": "m.typing", "content": typing},
                {"edu_type": "m.receipt", "content": {nowhere: read, room_id: read}},
            ],
        }

        answer = await outside.ask("PUT", f"{V1}/send/1", body)

        assert answer == (200, {"pdus": {}})
