"""A hostile instance with a thousand users against one user and one server.

Everything is counted: what the victim is shown, what others say to each other meanwhile, what the
server writes down.  Nothing here looks at the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from urllib.parse import quote

import pytest
import pytest_asyncio

from homeserver.services.consent.invite_rates import ACQUAINTED_FACTOR
from homeserver.services.policy.row_budget import ROWS
from tests.harness import World

from . import barrage
from .hostile import CONSENT_QUERY, FEDERATION, Answer
from .stage import HOSTILE_MEMBERS, MAX_PENDING, PER_INSTANCE, Stage, settings, stage

MEMORY_BYTES = 150 << 20
LINES_PER_REQUEST = 3

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attacked(world: World) -> AsyncIterator[Stage]:
    """A server whose users ask strangers to wait, after the attack."""
    async with stage(world, "one", settings("ask")) as one:
        await one.attack()
        yield one


async def test_the_attack_is_real(attacked: Stage) -> None:
    answers = attacked.statuses

    assert answers["invites"][200] > 0
    assert answers["invites"].total() == 1_500
    assert answers["smuggled"] == Counter({200: 5})
    assert answers["pictures"] == Counter({200: 6})
    assert answers["questions"][200] > 1_000
    assert answers["edus"][200] > 20


async def test_no_more_requests_wait_than_may(attacked: Stage) -> None:
    shown, waiting = await attacked.victim.shown()

    assert 0 < len(attacked.victim.invites) <= MAX_PENDING
    assert 0 < waiting <= MAX_PENDING
    assert len(shown) <= MAX_PENDING


async def test_requests_neither_notify_nor_count_as_unread(attacked: Stage) -> None:
    rows = await attacked.count(
        "SELECT count(*) FROM notifications WHERE audience = $1", attacked.victim.user_id
    )

    assert attacked.victim.unread == {}
    assert rows == 0


async def test_what_others_say_arrives_in_order_and_once(attacked: Stage) -> None:
    alice, bob = attacked.alice, attacked.bob

    assert bob.heard_from(alice.user_id) == alice.said
    assert alice.heard_from(bob.user_id) == bob.said
    assert alice.heard_from(attacked.carol) == attacked.carol_said
    assert len(alice.said) >= 50


async def test_nothing_breaks(attacked: Stage) -> None:
    lines = attacked.log()
    worst = [line for line in lines if line["level"] in ("warning", "error", "critical")]
    statuses = {line["status"] for line in lines if line["event"] == "request"}

    assert worst == []
    assert max(statuses) < 500
    assert "Traceback" not in attacked.server.log_file.read_text()


async def test_the_log_grows_with_the_requests_alone(attacked: Stage) -> None:
    kinds = Counter(line["event"] for line in attacked.log())
    events = 300 + HOSTILE_MEMBERS * 5 + len(attacked.carol_said)

    assert kinds.total() - kinds["pdu"] <= LINES_PER_REQUEST * kinds["request"]
    assert kinds["pdu"] <= events


async def test_memory_stays_within_bounds(attacked: Stage) -> None:
    assert attacked.server.resident_bytes() - attacked.memory_before < MEMORY_BYTES


async def test_slow_bodies_are_not_put_up_with_beyond_a_few(attacked: Stage) -> None:
    assert attacked.slow_refused == barrage.SLOW_SOCKETS - barrage.MOST_SLOW


async def test_moderators_are_told_once_of_each_offender(attacked: Stage) -> None:
    rows = "SELECT count(*) FROM moderation_queue WHERE kind = $1"

    offences = await attacked.count(rows, "request_abuse")
    of_instance = await attacked.count(f"{rows} AND sender = $2", "request_abuse", attacked.evil)
    reports = await attacked.count(rows, "report")

    assert of_instance == 1
    assert offences <= 1 + HOSTILE_MEMBERS
    assert reports <= 20, "of 400 that it passed on"


@pytest.mark.parametrize(
    ("table", "most"),
    [
        ("policy_verdicts", 4 * ROWS),
        ("message_requests", MAX_PENDING + 1),
        ("consent", 2 * MAX_PENDING),
        ("rooms", 2 * PER_INSTANCE),
        ("first_seen", 2 * PER_INSTANCE + HOSTILE_MEMBERS),
        ("inbox_transactions", 60),
        ("inbox", 0),
        ("peer_consent", 0),
        ("receipts", HOSTILE_MEMBERS + 10),
        ("presence", HOSTILE_MEMBERS + 10),
        ("server_keys", 3),
        ("destinations", 2),
    ],
)
async def test_tables_do_not_grow_with_the_attack(attacked: Stage, table: str, most: int) -> None:
    assert await attacked.count(f"SELECT count(*) FROM {table}") <= most


async def test_one_command_ends_it(attacked: Stage) -> None:
    hostile, victim = attacked.hostile, attacked.victim
    user = quote(victim.user_id, safe="")
    events = await attacked.count("SELECT count(*) FROM events")

    output = await attacked.command("policy", "block", hostile.name)

    work: list[Callable[[], Awaitable[Answer]]] = [
        partial(hostile.invite, hostile.users[500], victim.user_id),
        partial(hostile.transaction, [attacked.shared.picture(hostile.users[0])]),
        partial(hostile.ask, "GET", f"{FEDERATION}/v1/query/profile?user_id={user}"),
        partial(hostile.ask, "GET", f"{FEDERATION}/v1/user/devices/{user}"),
        partial(hostile.ask, "POST", f"{FEDERATION}/v1/user/keys/query", {"device_keys": {}}),
        partial(hostile.ask, "POST", CONSENT_QUERY, {}),
        partial(hostile.ask, "GET", f"{FEDERATION}/v1/publicRooms"),
    ]
    assert hostile.name in output
    assert set(await hostile.many(iter(work))) == {403}
    assert await attacked.count("SELECT count(*) FROM events") == events
    assert await victim.shown() == (set(), 0)


async def test_the_blocked_are_refused_before_their_bodies_are_read(attacked: Stage) -> None:
    reader, writer = await attacked.hostile.connect()

    writer.write(attacked.hostile.head("PUT", f"{FEDERATION}/v1/send/huge", 1 << 23))
    status = await reader.readline()

    assert status.split()[1] == b"403"
    writer.close()


async def test_life_goes_on(attacked: Stage) -> None:
    await attacked.alice.client.send(attacked.room_id, "is it over?")
    await attacked.honest.hostile.transaction([attacked.honest.message(attacked.carol, "it is")])

    await attacked.bob.hears("is it over?")
    await attacked.alice.hears("it is")


async def test_where_everybody_may_invite_the_instance_is_bounded_all_the_same(
    world: World,
) -> None:
    async with stage(world, "two", settings("open")) as two:
        await barrage.invites(two.hostile, two.victim.user_id)
        await barrage.acquaintances(two.shared, two.bob.user_id)
        of_strangers, _ = await two.victim.shown()
        of_acquaintances, _ = await two.bob.shown()

        assert 0 < len(of_strangers) <= PER_INSTANCE
        assert 0 < len(of_acquaintances) <= ACQUAINTED_FACTOR * PER_INSTANCE
