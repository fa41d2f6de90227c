"""Every endpoint, asked nonsense: the spec's error each time, never a 500."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database, is_unstorable
from tests.integration.single import Instance, running

BODIES: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"[" * 5000 + b"]" * 5000,
    b'{"user_id": 7, "room_id": [], "type": {}, "auth": 1, "password": [], "membership": 3}',
    b'{"a": "\\u0000", "user_id": "\\u0000", "room_id": "\\u0000", "event_id": "\\u0000"}',
    b'{"device_keys": [], "one_time_keys": 3, "messages": {"x": []}, "filter": 7, "limit": "x"}',
    b'{"identifier": [], "type": "m.login.password", "invite": [1], "initial_state": [7]}',
    b'{"m.read": 5, "m.fully_read": {}, "typing": "x", "presence": 1, "timeout": -1}',
    b'{"a": 1e400, "b": 123456789012345678901234567890, "c": -0.0}',
    b'{"pdus": [7, {}, null], "edus": [7, {"edu_type": 3}]}',
]
VALUES = {
    "room_id": ["!none:one.test", "nonsense", "%F0%9F%92%A9", "!" + "x" * 300],
    "user_id": ["@alice:one.test", "nonsense", "@:"],
    "event_id": ["$nothing", "x"],
}


def paths(canonical: str) -> list[str]:
    """A route's path with strange values in it."""
    names = re.findall(r"\{(\w+)", canonical)
    count = max((len(VALUES.get(name, ["x"])) for name in names), default=1)
    found = []
    for number in range(count):
        path = canonical
        for name in names:
            choices = VALUES.get(name, ["x"])
            value = choices[number % len(choices)]
            path = re.sub(r"\{" + name + r"[^}]*\}", value, path, count=1)
        found.append(path)
    return found


async def ask(one: Instance, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with one.client.request(method, path, data=body, headers=headers) as response:
        return response.status, await response.read()


def routes(one: Instance) -> list[tuple[str, str]]:
    assert one.client.app is not None
    found = {
        (route.method, route.resource.canonical)
        for route in one.client.app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    # /logout and /account/deactivate would end the session that the sweep uses
    skipped = ("/logout", "/deactivate", "/r0/")
    return sorted(r for r in found if not any(word in r[1] for word in skipped))


async def test_no_endpoint_fails_on_nonsense(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        token = await one.register("alice")
        failures = []
        for method, canonical in routes(one):
            for path in paths(canonical):
                for body in BODIES if method != "GET" else BODIES[:1]:
                    suffix = "?timeout=0" if path.endswith("/sync") else ""
                    status, answer = await ask(one, method, path + suffix, token, body)
                    # 501: a feature that is switched off; 502: another server cannot be reached
                    if status >= 500 and status not in (501, 502):
                        failures.append((method, path, body[:60], status, answer[:200]))

        assert failures == []


@pytest.mark.parametrize(
    "query",
    ["limit=x", "limit=-5", "since=nonsense", "from=zzz&dir=b", "filter={", "timeout=soon"],
)
async def test_no_query_string_makes_a_failure(
    database: Database, tmp_path: Path, query: str
) -> None:
    async with running(database, tmp_path) as one:
        token = await one.register("alice")
        room_id = await one.room(token)
        for path in ("/sync", f"/rooms/{room_id}/messages", "/publicRooms", "/keys/changes"):
            url = f"/_matrix/client/v3{path}?{query}"
            status, answer = await ask(one, "GET", url, token, b"")
            assert status < 500, (url, answer)


async def test_an_unknown_endpoint_and_a_wrong_method_say_so(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        unknown = await one.call("GET", "/nothing", status=404)
        wrong = await one.call("DELETE", "/login", status=405)

        assert unknown["errcode"] == wrong["errcode"] == "M_UNRECOGNIZED"


async def test_a_body_over_the_limit_is_too_large(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, limits={"request_body_bytes": 65536}) as one:
        token = await one.register("alice")
        room_id = await one.room(token)

        refused = await one.say(token, room_id, "x" * 100_000, status=413)

        assert refused["errcode"] == "M_TOO_LARGE"


async def test_an_unsigned_federation_request_is_refused(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        for method, canonical in routes(one):
            if canonical.startswith("/_matrix/federation") and "version" not in canonical:
                if any(name in canonical for name in ("openid", "onbind")):
                    continue  # the spec has them open
                (path, *_) = paths(canonical)
                async with one.client.request(method, path, json={}) as response:
                    assert response.status == 401, (method, path)


async def test_a_nul_where_the_database_takes_none_is_refused(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        for path in ("/directory/room/%23tea:one.test", "/directory/room/%23x:one.test"):
            refused = await one.call("PUT", path, {"room_id": "!a\0b"}, token=alice, status=400)

            assert refused["errcode"] == "M_INVALID_PARAM"


async def test_a_nul_that_nobody_looked_for_is_known_by_the_databases_error(
    database: Database,
) -> None:
    with pytest.raises(Exception, match="0x00") as failed:
        await database.fetchval("SELECT $1::text", "a\0b")

    assert is_unstorable(failed.value)
