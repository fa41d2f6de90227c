"""Setting pushers, changing and removing them.  Spec: client-server API, push notifications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.push_world import pusher
from tests.integration.single import running


async def test_a_pusher_is_set_listed_changed_and_removed(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        url = "https://push.example/_matrix/push/v1/notify"
        body = pusher(url, profile_tag="tag", **{"org.matrix.msc3881.enabled": True})

        await one.call("POST", "/pushers/set", body, token=alice)
        (first,) = (await one.call("GET", "/pushers", token=alice))["pushers"]
        await one.call(
            "POST", "/pushers/set", {**body, "lang": "de", "enabled": False}, token=alice
        )
        (second,) = (await one.call("GET", "/pushers", token=alice))["pushers"]
        await one.call("POST", "/pushers/set", {**body, "kind": None}, token=alice)
        none = await one.call("GET", "/pushers", token=alice)

        whoami = await one.call("GET", "/account/whoami", token=alice)
        assert first == {
            **{key: value for key, value in body.items() if "msc" not in key},
            "enabled": True,
            "org.matrix.msc3881.enabled": True,
            "device_id": whoami["device_id"],
            "org.matrix.msc3881.device_id": whoami["device_id"],
        }
        assert (second["lang"], second["enabled"]) == ("de", False)
        assert none == {"pushers": []}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "sms"}, "M_INVALID_PARAM"),
    ({"kind": 7}, "M_INVALID_PARAM"),
    ({"kind": "email"}, "M_INVALID_PARAM"),
    ({"kind": "email", "app_id": "m.email", "pushkey": "a@b.example"}, "M_INVALID_PARAM"),
    ({"lang": None}, "M_MISSING_PARAM"),
    ({"app_id": None}, "M_MISSING_PARAM"),
    ({"app_id": "a" * 65}, "M_INVALID_PARAM"),
    ({"pushkey": "\u20ac" * 200}, "M_INVALID_PARAM"),
    ({"pushkey": ""}, "M_INVALID_PARAM"),
    ({"pushkey": "\0"}, "M_INVALID_PARAM"),
    ({"data": []}, "M_INVALID_PARAM"),
    ({"data": {}}, "M_MISSING_PARAM"),
    ({"data": {"url": "http://push.example/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
    ({"data": {"url": "https://push.example/elsewhere"}}, "M_INVALID_PARAM"),
    ({"data": {"url": "https:///_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
    ({"data": {"url": "https://u:p@push.example/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
    ({"data": {"url": "https://push.example:x/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
    ({"enabled": "yes"}, "M_INVALID_PARAM"),
    ({"append": 1}, "M_INVALID_PARAM"),
]


async def test_a_pusher_that_cannot_work_is_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        url = "https://push.example/_matrix/push/v1/notify"

        for changes, errcode in REFUSED:
            body = pusher(url, **changes)
            refused = await one.call("POST", "/pushers/set", body, token=alice, status=400)

            assert (changes, refused["errcode"]) == (changes, errcode)
        assert await one.call("GET", "/pushers", token=alice) == {"pushers": []}


async def test_without_append_a_pushkey_has_one_user(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, carol = [await one.register(name) for name in ("alice", "bob", "carol")]
        body = pusher("https://push.example/_matrix/push/v1/notify")

        await one.call("POST", "/pushers/set", body, token=alice)
        await one.call("POST", "/pushers/set", {**body, "append": True}, token=bob)
        both = [await one.call("GET", "/pushers", token=token) for token in (alice, bob)]
        await one.call("POST", "/pushers/set", body, token=carol)
        others = [await one.call("GET", "/pushers", token=token) for token in (alice, bob)]

        assert [len(answer["pushers"]) for answer in both] == [1, 1]
        assert [len(answer["pushers"]) for answer in others] == [0, 0]
