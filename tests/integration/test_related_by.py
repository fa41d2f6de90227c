"""``/messages`` for those to which others relate: how clients without a list of threads ask.

Spec: MSC3440, fetching thread roots.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from homeserver.storage.database import Database
from tests.integration.single import running

CASES = [
    ({"related_by_rel_types": ["m.thread"]}, ["root"]),
    ({"related_by_rel_types": ["m.annotation"]}, ["liked"]),
    ({"related_by_rel_types": ["m.thread", "m.annotation"]}, ["liked", "root"]),
    ({"related_by_rel_types": ["m.thread"], "related_by_senders": ["@alice:one.test"]}, []),
    ({"related_by_senders": ["@bob:one.test"]}, ["root"]),
    ({"related_by_rel_types": []}, []),
    ({"types": ["m.room.message"]}, ["lonely", "liked", "root"]),
]


async def test_messages_to_which_others_relate(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.call("POST", "/createRoom", {"preset": "public_chat"}, token=alice)
        room_id = room["room_id"]
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        ids = {}
        for name in ("root", "liked", "lonely"):
            ids[name] = (await one.say(alice, room_id, name))["event_id"]
        thread = {"rel_type": "m.thread", "event_id": ids["root"]}
        reply = await one.say(bob, room_id, "reply", **{"m.relates_to": thread})
        like = {"rel_type": "m.annotation", "event_id": ids["liked"], "key": "+"}
        path = f"/rooms/{room_id}/send/m.reaction/1"
        await one.call("PUT", path, {"m.relates_to": like}, token=alice)

        async def found(event_filter: dict[str, Any]) -> list[str]:
            text = quote(json.dumps(event_filter))
            path = f"/rooms/{room_id}/messages?dir=b&limit=50&filter={text}"
            chunk = (await one.call("GET", path, token=alice))["chunk"]
            return [
                name for e in chunk for name, event_id in ids.items() if e["event_id"] == event_id
            ]

        answers = [await found(event_filter) for event_filter, _ in CASES]
        await one.call("PUT", f"/rooms/{room_id}/redact/{reply['event_id']}/1", {}, token=bob)
        after = await found({"related_by_rel_types": ["m.thread"]})

        assert answers == [names for _, names in CASES]
        assert after == []
