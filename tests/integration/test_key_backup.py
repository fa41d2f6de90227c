"""Server-side backup of room keys, through a whole instance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from homeserver.services import key_backup as service
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.single import Instance, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBERS = count()
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ABOUT = {"algorithm": ALGORITHM, "auth_data": {"public_key": "abc", "signatures": {}}}
ROOM, OTHER_ROOM = "!room:one.test", "!other:one.test"


def key(index: int = 0, forwarded: int = 0, *, verified: bool = False, data: str = "") -> Any:
    """A key as clients back it up."""
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ephemeral": "e", "ciphertext": data or f"{index} {forwarded}", "mac": ""},
    }


class Owner:
    """Somebody with backups."""

    def __init__(self, instance: Instance, token: str, name: str) -> None:
        self.instance, self.token, self.name = instance, token, name

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """A request beneath ``/room_keys``."""
        return await self.instance.call(
            method, f"/room_keys{path}", body, token=self.token, status=status
        )

    async def create(self) -> str:
        """A new backup's version."""
        version: str = (await self.call("POST", "/version", ABOUT))["version"]
        return version

    async def put(self, version: str, session_id: str, data: Any, **given: Any) -> Any:
        """Back up one key."""
        path = f"/keys/{quote(ROOM)}/{quote(session_id, safe='')}?version={version}"
        return await self.call("PUT", path, data, **given)

    async def get(self, version: str, path: str = "", **given: Any) -> Any:
        """What is stored."""
        return await self.call("GET", f"/keys{path}?version={version}", **given)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(
    postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Instance]:
    """One instance for all tests: each has users of its own."""
    database = await Database.connect(await postgres.create_database())
    async with running(database, tmp_path_factory.mktemp("backup")) as instance:
        yield instance
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def owner(instance: Instance) -> Owner:
    name = f"alice{next(NUMBERS)}"
    return Owner(instance, await instance.register(name), name)


async def test_a_backup_is_made_described_and_changed(owner: Owner) -> None:
    await owner.call("GET", "/version", status=404)
    version = await owner.create()

    described = await owner.call("GET", "/version")
    changed = {**ABOUT, "auth_data": {"public_key": "xyz"}, "version": version}
    await owner.call("PUT", f"/version/{version}", changed)

    assert described == {**ABOUT, "count": 0, "etag": "0", "version": version}
    found = await owner.call("GET", f"/version/{version}")
    assert found["auth_data"] == {"public_key": "xyz"}


async def test_a_backup_keeps_its_algorithm_and_its_version(owner: Owner) -> None:
    version = await owner.create()

    algorithm = await owner.call(
        "PUT", f"/version/{version}", {**ABOUT, "algorithm": "m.other"}, status=400
    )
    number = await owner.call("PUT", f"/version/{version}", {**ABOUT, "version": "99"}, status=400)

    assert algorithm["errcode"] == number["errcode"] == "M_INVALID_PARAM"


@pytest.mark.parametrize("version", ["99", "0", "01", "-1", "one", "9" * 40, "%C2%B2"])
async def test_an_unknown_version_is_not_found(owner: Owner, version: str) -> None:
    await owner.create()

    answers = [
        await owner.call("GET", f"/version/{version}", status=404),
        await owner.call("PUT", f"/version/{version}", ABOUT, status=404),
        await owner.call("DELETE", f"/version/{version}", status=404),
        await owner.call("PUT", f"/keys?version={version}", {"rooms": {}}, status=404),
        await owner.call("GET", f"/keys?version={version}", status=404),
        await owner.call("GET", f"/keys/{ROOM}?version={version}", status=404),
        await owner.call("DELETE", f"/keys?version={version}", status=404),
    ]

    assert {answer["errcode"] for answer in answers} == {"M_NOT_FOUND"}


async def test_the_version_has_to_be_told(owner: Owner) -> None:
    for method, body in (("PUT", {"rooms": {}}), ("GET", None), ("DELETE", None)):
        answer = await owner.call(method, "/keys", body, status=400)
        assert answer["errcode"] == "M_MISSING_PARAM"


async def test_keys_go_into_the_current_backup_alone(owner: Owner) -> None:
    first = await owner.create()
    await owner.put(first, "s", key())
    second = await owner.create()

    refused = await owner.put(first, "t", key(), status=403)

    assert refused["errcode"] == "M_WRONG_ROOM_KEYS_VERSION"
    assert refused["current_version"] == second
    assert (await owner.call("GET", "/version"))["version"] == second
    assert await owner.get(first) == {"rooms": {ROOM: {"sessions": {"s": key()}}}}
    assert await owner.get(second) == {"rooms": {}}


async def test_a_deleted_backup_stays_deleted_and_the_one_before_is_current(owner: Owner) -> None:
    first, second = await owner.create(), await owner.create()
    await owner.put(second, "s", key())

    for _ in range(2):
        await owner.call("DELETE", f"/version/{second}")

    await owner.call("GET", f"/version/{second}", status=404)
    await owner.put(second, "s", key(), status=404)
    assert (await owner.call("GET", "/version"))["version"] == first
    await owner.put(first, "s", key())
    assert await owner.create() not in (first, second)


async def test_keys_are_stored_and_read_in_all_three_ways(owner: Owner) -> None:
    version = await owner.create()
    one, two, three = key(1), key(2), key(3)

    await owner.call(
        "PUT", f"/keys?version={version}", {"rooms": {OTHER_ROOM: {"sessions": {"a": one}}}}
    )
    await owner.call("PUT", f"/keys/{ROOM}?version={version}", {"sessions": {"b": two}})
    state = await owner.put(version, "c/+=", three)

    assert state["count"] == 3
    assert await owner.get(version) == {
        "rooms": {
            OTHER_ROOM: {"sessions": {"a": one}},
            ROOM: {"sessions": {"b": two, "c/+=": three}},
        }
    }
    assert await owner.get(version, f"/{ROOM}") == {"sessions": {"b": two, "c/+=": three}}
    assert await owner.get(version, f"/{ROOM}/c%2F%2B%3D") == three
    assert await owner.get(version, "/!unknown:one.test") == {"sessions": {}}
    await owner.get(version, f"/{ROOM}/unknown", status=404)


@pytest.mark.parametrize("spelling", ["r0", "unstable"])
async def test_older_spellings_do_the_same(owner: Owner, spelling: str) -> None:
    prefix = f"/_matrix/client/{spelling}/room_keys"
    call = owner.instance.call
    version = (await call("POST", f"{prefix}/version", ABOUT, token=owner.token))["version"]

    path = f"{prefix}/keys/{ROOM}/s?version={version}"
    await call("PUT", path, key(), token=owner.token)

    assert await call("GET", path, token=owner.token) == key()


# spec: first by is_verified, then by first_message_index, then by forwarded_count
RANKED = [
    key(0, 0, verified=True),
    key(0, 5, verified=True),
    key(7, 0, verified=True),
    key(0, 0),
    key(0, 1),
    key(3, 0),
    key(3, 2),
]


@pytest.mark.parametrize("better", range(len(RANKED) - 1))
async def test_the_better_key_stays_whichever_comes_first(owner: Owner, better: int) -> None:
    version = await owner.create()
    good, bad = RANKED[better], RANKED[better + 1]

    await owner.put(version, "bad first", bad)
    await owner.put(version, "bad first", good)
    before = await owner.put(version, "good first", good)
    after = await owner.put(version, "good first", bad)

    sessions = (await owner.get(version, f"/{ROOM}"))["sessions"]
    assert sessions == {"bad first": good, "good first": good}
    assert before == after


async def test_an_equal_key_does_not_replace_the_stored_one(owner: Owner) -> None:
    version = await owner.create()
    before = await owner.put(version, "s", key(1, 1, data="stored"))

    after = await owner.put(version, "s", key(1, 1, data="later"))

    assert before == after
    assert await owner.get(version, f"/{ROOM}/s") == key(1, 1, data="stored")


async def test_etag_and_count_follow_each_change(owner: Owner) -> None:
    version = await owner.create()
    path = f"/keys/{ROOM}"

    states = [
        await owner.put(version, "a", key(3)),
        await owner.put(version, "b", key(3)),
        await owner.put(version, "b", key(2)),
        await owner.call("DELETE", f"{path}/a?version={version}"),
        await owner.call("DELETE", f"{path}?version={version}"),
    ]
    nothing = await owner.call("DELETE", f"/keys?version={version}")

    assert [state["count"] for state in states] == [1, 2, 2, 1, 0]
    assert len({state["etag"] for state in states}) == len(states)
    assert nothing == states[-1]
    described = await owner.call("GET", "/version")
    assert {name: described[name] for name in nothing} == nothing


async def test_the_best_of_many_keys_uploaded_at_once_stays_and_the_count_is_right(
    owner: Owner,
) -> None:
    version = await owner.create()
    indexes = [17, 3, 29, 1, 23, 2, 11, 5, 19, 13]

    await asyncio.gather(
        *(
            owner.call(
                "PUT",
                f"/keys/{ROOM}?version={version}",
                {"sessions": {"same": key(index), f"own {index}": key(index)}},
            )
            for index in indexes
        ),
    )

    assert await owner.get(version, f"/{ROOM}/same") == key(1)
    stored = (await owner.get(version, f"/{ROOM}"))["sessions"]
    assert (await owner.call("GET", "/version"))["count"] == len(stored) == len(indexes) + 1


async def test_backups_made_at_once_each_have_their_version(owner: Owner) -> None:
    versions = await asyncio.gather(*(owner.create() for _ in range(8)))

    assert len(set(versions)) == 8
    assert (await owner.call("GET", "/version"))["version"] == max(versions, key=int)


async def test_a_backup_of_many_pages_is_read_whole(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await owner.create()
    rooms = {
        f"!{room}:one.test": {"sessions": {f"s{n}": key(n) for n in range(25)}}
        for room in range(40)
    }
    await owner.call("PUT", f"/keys?version={version}", {"rooms": rooms})
    monkeypatch.setattr(service, "KEYS_AT_ONCE", 13)
    monkeypatch.setattr("client_api.matrix.room_keys.KEYS_AT_ONCE", 13)

    found = await owner.get(version)

    assert found == {"rooms": rooms}


@pytest.mark.parametrize(
    "rooms",
    [
        {"room:one.test": {"sessions": {}}},
        {ROOM: {}},
        {ROOM: {"sessions": []}},
        {ROOM: {"sessions": {"": key()}}},
        {ROOM: {"sessions": {"s": "key"}}},
        {ROOM: {"sessions": {"s": {**key(), "first_message_index": True}}}},
        {ROOM: {"sessions": {"s": {**key(), "first_message_index": -1}}}},
        {ROOM: {"sessions": {"s": {**key(), "forwarded_count": 2**70}}}},
        {ROOM: {"sessions": {"s": {**key(), "is_verified": 1}}}},
        {ROOM: {"sessions": {"s": {**key(), "session_data": "text"}}}},
        {ROOM: {"sessions": {"s": {"first_message_index": 0}}}},
    ],
)
async def test_malformed_keys_are_refused_and_nothing_of_them_is_stored(
    owner: Owner, rooms: dict[str, Any]
) -> None:
    version = await owner.create()
    good = {OTHER_ROOM: {"sessions": {"s": key()}}}

    answer = await owner.call(
        "PUT", f"/keys?version={version}", {"rooms": {**good, **rooms}}, status=400
    )

    assert answer["errcode"] in ("M_BAD_JSON", "M_INVALID_PARAM")
    assert await owner.get(version) == {"rooms": {}}


async def test_session_data_comes_back_as_it_was_even_with_odd_characters(owner: Owner) -> None:
    version = await owner.create()
    odd = {**key(), "session_data": {"ciphertext": 'a\0b"\\\u2028é😀', "nested": {"n": [1, None]}}}

    await owner.put(version, "s", odd)

    assert await owner.get(version, f"/{ROOM}/s") == odd


async def test_nobody_sees_anothers_backup(owner: Owner) -> None:
    version = await owner.create()
    await owner.put(version, "s", key())
    bob = Owner(owner.instance, await owner.instance.register("bob"), "bob")

    await bob.call("GET", "/version", status=404)
    await bob.get(version, status=404)
    own = await bob.create()

    assert await bob.get(own) == {"rooms": {}}
    assert (await owner.call("GET", "/version"))["count"] == 1


async def test_there_is_a_limit_to_backups_and_keys(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_BACKUPS", 1)
    monkeypatch.setattr(service, "MAX_KEYS", 1)
    version = await owner.create()
    await owner.put(version, "s", key())

    answer = await owner.put(version, "t", key(), status=413)
    await owner.call("POST", "/version", ABOUT, status=400)

    assert answer["errcode"] == "M_TOO_LARGE"
    assert (await owner.call("GET", "/version"))["count"] == 1


async def test_a_deactivated_account_leaves_no_backup(owner: Owner) -> None:
    version = await owner.create()
    await owner.put(version, "s", key())
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": owner.name},
        "password": "sesame",
    }

    await owner.instance.call("POST", "/account/deactivate", {"auth": auth}, token=owner.token)

    for table in ("key_backups", "key_backup_keys", "key_backup_owners"):
        statement = f"SELECT count(*) FROM {table} WHERE user_id = $1"
        rows = await owner.instance.wiring.database.fetchval(statement, f"@{owner.name}:one.test")
        assert rows == 0
