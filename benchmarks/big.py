"""Big accounts, big audiences, long histories: what must not grow with them."""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import orjson

from tests.harness import Comity, Homeserver, World

from .load import Audience, Record, Samples, paced
from .measures import MIB, Figures, Scale, spread_senders
from .people import Room, User, in_batches, join_room, open_room, register_many
from .sockets import SETTINGS, new_users
from .websocket import Client

BASE = "/_matrix/client/v3"
SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
REPEATS = 5
LOOKS = 50
CONNECTED_PACE_PER_SECOND = 20.0
WRITERS = 16
IN_FLIGHT = 16
# The words of the long history: one in a hundred thousand messages, one in a thousand, one in ten.
RARE, SOME, COMMON = 100_000, 1_000, 10
INDEXED_WITHIN_SECONDS = 900.0


async def timed(work: Callable[[], Awaitable[object]], times: int) -> Samples:
    """How long something takes, again and again."""
    samples = Samples()
    for _ in range(times):
        started = time.monotonic()
        await work()
        samples.values.append((time.monotonic() - started) * 1000)
    return samples


async def account(server: Homeserver, scale: Scale) -> Figures:
    """The first sync of an account in many rooms, with and without anything in memory."""
    reader, *others = await register_many(server, 10)

    async def fill(number: int) -> None:
        host = others[number % len(others)]
        body = {"preset": "public_chat", "name": f"Room {number}", "topic": "What there is to say"}
        room_id = (await host.call("POST", f"{BASE}/createRoom", body))["room_id"]
        await join_room(Room(room_id, [host]), reader)
        for n in range(3):
            target = f"{BASE}/rooms/{quote(room_id)}/send/m.room.message/{n}"
            await host.call("PUT", target, {"msgtype": "m.text", "body": f"message {n}"})

    await in_batches(range(scale.rooms_of_one), fill)
    first = await _first_sync(server, reader, scale)
    sliding = await _first_sliding_sync(server, reader)
    connection = reader.connection()
    since = (await connection.json("GET", f"{BASE}/sync?timeout=0"))["next_batch"]
    target = f"{BASE}/sync?timeout=0&since={quote(since)}"
    nothing = await timed(lambda: connection.request("GET", target), LOOKS)
    connection.close()
    name = f"{scale.rooms_of_one:,} rooms"
    return first | sliding | {f"{name}: a sync with nothing new (ms)": nothing.percentile(50)}


async def _first_sync(server: Homeserver, reader: User, scale: Scale) -> Figures:
    await server.stop_async()
    await server.start_async()
    connection = reader.connection()
    size = 0

    async def whole() -> None:
        nonlocal size
        status, answer = await connection.request("GET", f"{BASE}/sync?timeout=0")
        assert status == 200, answer[:300]
        size = len(answer)

    cold = await timed(whole, 1)
    warm = await timed(whole, REPEATS)
    connection.close()
    name = f"{scale.rooms_of_one:,} rooms"
    return {
        f"{name}: first sync after a start (ms)": cold.percentile(50),
        f"{name}: first sync (ms)": warm.percentile(50),
        f"{name}: its size (MiB)": size / MIB,
    }


async def _first_sliding_sync(server: Homeserver, reader: User) -> Figures:
    if server.kind != "comity":
        return {}
    await server.stop_async()
    await server.start_async()
    numbers = iter(range(1_000))
    connection = reader.connection()
    required = [["m.room.create", ""], ["m.room.name", ""], ["m.room.member", "$LAZY"]]
    window = {"ranges": [[0, 19]], "required_state": required, "timeline_limit": 5}

    async def first() -> None:
        body = {"conn_id": f"c{next(numbers)}", "lists": {"all": window}}
        status, answer = await connection.request("POST", SLIDING, orjson.dumps(body))
        assert status == 200, answer[:300]
        assert len(orjson.loads(answer)["rooms"]) == 20, answer[:300]

    cold = await timed(first, 1)
    warm = await timed(first, REPEATS)
    connection.close()
    return {
        "sliding sync, the first 20 of them, after a start (ms)": cold.percentile(50),
        "sliding sync, the first 20 of them (ms)": warm.percentile(50),
    }


async def connected(server: Homeserver, scale: Scale) -> Figures:
    """Deliveries while many clients wait in a sync, in rooms of ten."""
    users = await register_many(server, scale.connected)
    rooms = [await open_room(users[n : n + 10]) for n in range(0, len(users), 10)]
    senders = spread_senders(rooms, scale.senders)
    audience = Audience(users)
    record = Record()
    gc.collect()
    gc.freeze()
    async with audience.listening():
        await asyncio.sleep(2)
        audience.record = record
        await paced(senders, record, scale.seconds, CONNECTED_PACE_PER_SECOND)
        await audience.drained(len(record.send_ms.values) * 9)
        audience.record = None
    for sender in senders:
        sender.close()
    name = f"{scale.connected:,} clients in a sync, {CONNECTED_PACE_PER_SECOND:.0f}/s"
    return {
        f"{name}: delivery p50 (ms)": record.delivery_ms.percentile(50),
        f"{name}: delivery p99 (ms)": record.delivery_ms.percentile(99),
        f"{name}: errors": record.errors,
    }


def words(number: int) -> str:
    """What the message of this number says."""
    said = [f"{time.monotonic_ns():020}: light through yonder window"]
    for each, word in ((RARE, "wherefore"), (SOME, "nightingale"), (COMMON, "balcony")):
        if number % each == 0:
            said.append(word)
    return " ".join(said)


async def write(writers: list[User], room: Room, count: int) -> float:
    """Write a history through the WebSocket; events per second."""
    clients = [Client(user) for user in writers]
    await asyncio.gather(*(client.connect() for client in clients))
    sent = acknowledged = 0
    done = asyncio.get_running_loop().create_future()

    def send(client: Client) -> None:
        nonlocal sent
        if sent < count:
            client.send(f"h{sent}", room.room_id, words(sent))
            sent += 1

    def on_ok(client: Client, _payload: bytes) -> None:
        nonlocal acknowledged
        acknowledged += 1
        if acknowledged == count:
            done.set_result(None)
        send(client)

    started = time.monotonic()
    for client in clients:
        client.on_ok = on_ok
        for _ in range(IN_FLIGHT):
            send(client)
    await done
    rate = count / (time.monotonic() - started)
    for client in clients:
        client.close()
    return rate


async def history(server: Comity, scale: Scale) -> Figures:
    """Pages anywhere in a long history, and searches in it."""
    writers = await new_users(server, WRITERS)
    room = await open_room(writers)
    started_ms = int(time.time() * 1000)
    rate = await write(writers, room, scale.long_room)
    ended_ms = int(time.time() * 1000)
    reader = writers[1]
    indexed = await _indexed(reader, scale.long_room)
    await server.stop_async()
    await server.start_async()
    name = f"{scale.long_room:,} events"
    pages = await _pages(reader, room, started_ms, ended_ms)
    searches = await _searches(reader)
    one = f"{BASE}/sync?timeout=0"
    connection = reader.connection()
    sync = await timed(lambda: connection.request("GET", one), REPEATS)
    connection.close()
    return {
        f"{name}: written per second": rate,
        f"{name}: searchable after (s)": indexed,
        f"{name}: a first sync (ms)": sync.percentile(50),
        **{f"{name}: {what}": value for what, value in (pages | searches).items()},
    }


async def _indexed(reader: User, count: int) -> float:
    """How long it takes until the last message can be found; messages are indexed in order."""
    started = time.monotonic()
    last = (count - 1) // RARE * RARE
    want = last // RARE + 1
    while time.monotonic() - started < INDEXED_WITHIN_SECONDS:
        if (await _search(reader, "wherefore", "recent"))["count"] >= want:
            return time.monotonic() - started
        await asyncio.sleep(0.5)
    raise RuntimeError("The history is not searchable")


async def _search(reader: User, term: str, order: str) -> dict[str, int]:
    criteria = {"search_term": term, "order_by": order, "filter": {"limit": 10}}
    body = {"search_categories": {"room_events": criteria}}
    answer = await reader.call("POST", f"{BASE}/search", body)
    found: dict[str, int] = answer["search_categories"]["room_events"]
    return found


async def _searches(reader: User) -> Figures:
    figures = {}
    for word in ("wherefore", "nightingale", "balcony"):
        for order in ("recent", "rank"):
            samples = await timed(lambda w=word, o=order: _search(reader, w, o), REPEATS)  # type: ignore[misc]
            figures[f"search {word}, by {order} (ms)"] = samples.percentile(50)
    return figures


async def _pages(reader: User, room: Room, started_ms: int, ended_ms: int) -> Figures:
    """Pages of a hundred events at random places."""
    chance = random.Random(1)
    connection = reader.connection()
    path = f"{BASE}/rooms/{quote(room.room_id)}"
    pages, contexts, files = Samples(), Samples(), Samples()
    nothing_but_files = quote('{"contains_url":true}')
    for _ in range(LOOKS):
        at = chance.randrange(started_ms, ended_ms)
        when = f"/_matrix/client/v1/rooms/{quote(room.room_id)}/timestamp_to_event?dir=b&ts={at}"
        event_id = (await connection.json("GET", when))["event_id"]
        started = time.monotonic()
        around = await connection.json("GET", f"{path}/context/{quote(event_id)}?limit=10")
        contexts.values.append((time.monotonic() - started) * 1000)
        for samples, extra in ((pages, ""), (files, f"&filter={nothing_but_files}")):
            target = f"{path}/messages?dir=b&limit=100&from={quote(around['start'])}{extra}"
            started = time.monotonic()
            await connection.json("GET", target)
            samples.values.append((time.monotonic() - started) * 1000)
    connection.close()
    return {
        "a page of 100 at any place p50 (ms)": pages.percentile(50),
        "a page of 100 at any place p99 (ms)": pages.percentile(99),
        "a page of files where there are none p50 (ms)": files.percentile(50),
        "context of an event p50 (ms)": contexts.percentile(50),
    }


async def long(world: World, scale: Scale) -> Figures:
    """The long history, on a server of its own."""
    server = world.comity("history", overrides=SETTINGS)
    await server.start_async()
    return await history(server, scale)
