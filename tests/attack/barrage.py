"""The parts of the attack.  Each sends what it has to send, and tells how it was answered."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from homeserver.protocol.canonical import encode_canonical_json

from .hostile import CONSENT_QUERY, FEDERATION, Answer, Hostile, SharedRoom

Work = Callable[[], Awaitable[Answer]]
MEGABYTE = 1 << 20
TOO_MANY = 429
SLOW_SOCKETS = 20
MOST_SLOW = 7  # of 9 MiB each, within 64 MiB


async def invites(hostile: Hostile, victim: str) -> Counter[int]:
    """A thousand users invite: half to direct chats, half to groups; a hundred ask again thrice."""
    first: Iterator[Work] = (
        partial(hostile.invite, user, victim, direct=number % 2 == 0)
        for number, user in enumerate(hostile.users)
    )
    again: Iterator[Work] = (
        partial(hostile.invite, user, victim) for user in hostile.users[:100] for _ in range(3)
    )
    same: Iterator[Work] = (
        partial(hostile.invite, user, victim, "den")
        for user in hostile.users[:10]
        for _ in range(20)
    )
    return await hostile.many(itertools.chain(first, again, same))


async def smuggled_invites(room: SharedRoom, victim: str) -> Counter[int]:
    """Invites as events of a room that both servers are in, without asking first."""
    hostile = room.hostile
    statuses: Counter[int] = Counter()
    for _ in range(5):
        pdus = [room.smuggled(sender, victim) for sender in room.members]
        statuses[await insist(hostile, pdus)] += 1
    return statuses


async def acquaintances(room: SharedRoom, victim: str) -> Counter[int]:
    """Invites by those who are in a room with the victim, twenty each."""
    work: Iterator[Work] = (
        partial(room.hostile.invite, user, victim) for _ in range(20) for user in room.members
    )
    return await room.hostile.many(work)


async def pictures(room: SharedRoom) -> Counter[int]:
    """Messages with files, full transactions one after another."""
    statuses: Counter[int] = Counter()
    senders = itertools.cycle(list(room.members))
    for _ in range(6):
        pdus = [room.picture(next(senders)) for _ in range(50)]
        statuses[await insist(room.hostile, pdus)] += 1
    return statuses


async def insist(hostile: Hostile, pdus: list[Any]) -> int:
    """Send a transaction until it is not too much at once; its answer's status."""
    while True:
        status, _ = await hostile.transaction(pdus)
        if status != TOO_MANY:
            return status
        await asyncio.sleep(0.1)


async def questions(hostile: Hostile, victim: str) -> Counter[int]:
    """Is there consent, who is that, which devices have they, give me keys of theirs."""
    base, user = f"{FEDERATION}/v1", quote(victim, safe="")
    rounds: Iterator[Work] = (
        work
        for asker in hostile.users[:250]
        for work in (
            partial(
                hostile.ask,
                "POST",
                CONSENT_QUERY,
                {"sender": asker, "recipient": victim, "scope": "message"},
            ),
            partial(hostile.ask, "GET", f"{base}/query/profile?user_id={user}"),
            partial(hostile.ask, "GET", f"{base}/user/devices/{user}"),
            partial(hostile.ask, "POST", f"{base}/user/keys/query", {"device_keys": {victim: []}}),
            partial(
                hostile.ask,
                "POST",
                f"{base}/user/keys/claim",
                {"one_time_keys": {victim: {"DEVICE": "signed_curve25519"}}},
            ),
        )
    )
    return await hostile.many(rounds)


async def edus(room: SharedRoom, victim: str) -> Counter[int]:
    """Presence, typing, receipts, and what only Comities say to each other."""
    hostile = room.hostile
    members = list(room.members)

    def typing(number: int) -> dict[str, Any]:
        content = {
            "room_id": room.room_id,
            "user_id": members[number % len(members)],
            "typing": number % 2 == 0,
        }
        return {"edu_type": "m.typing", "content": content}

    def presence(number: int) -> dict[str, Any]:
        state = ("online", "unavailable")[number % 2]
        push = [{"user_id": user, "presence": state} for user in hostile.users]
        return {"edu_type": "m.presence", "content": {"push": push}}

    def receipts(number: int) -> dict[str, Any]:
        read = {
            user: {"event_ids": [f"${secrets.token_hex(20)}"], "data": {"ts": number}}
            for user in members
        }
        return {"edu_type": "m.receipt", "content": {room.room_id: {"m.read": read}}}

    def report(number: int) -> dict[str, Any]:
        content = {"user_id": victim, "reason": "x" * 5000, "event_id": f"${number}"}
        return {"edu_type": "dev.comity.report", "content": content}

    def consent(number: int) -> dict[str, Any]:
        content = {
            "user_id": f"@nobody{number}:{hostile.name}",
            "peer": victim,
            "scope": "message",
            "state": "not_given",
        }
        return {"edu_type": "dev.comity.consent", "content": content}

    def nonsense(number: int) -> dict[str, Any]:
        return {"edu_type": "m.typing", "content": {"room_id": number, "typing": "yes"}}

    kinds = [(typing, 10), (presence, 2), (receipts, 4), (report, 4), (consent, 4), (nonsense, 2)]
    numbers = itertools.count()
    work = [
        partial(hostile.transaction, [], [make(next(numbers)) for _ in range(100)])
        if make is not presence
        else partial(hostile.transaction, [], [make(next(numbers)) for _ in range(5)])
        for make, times in kinds
        for _ in range(times)
    ]
    return await hostile.many(iter(work))


async def malformed(hostile: Hostile) -> Counter[int]:
    """Bodies that are too large, too deep, no JSON, or not what they should be; signed all."""
    send = f"{FEDERATION}/v1/send"
    long_name = secrets.token_hex(1800)
    deep = b'{"pdus":' + b"[" * 200 + b"]" * 200 + b"}"
    wide = b'{"pdus":[' + b"{}," * (MEGABYTE // 3) + b"{}]}"
    bodies = [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        deep,
        wide,
        b'{"pdus":"all of them"}',
        b'{"pdus":[[],7,{"room_id":[]}],"edus":[{"edu_type":{}},0]}',
        b'{"n":1e999}',
        b'{"n":' + b"9" * 400 + b"}",
        b'{"text":"' + b"x" * (11 * MEGABYTE) + b'"}',
    ]
    work: list[Work] = []
    for number, body in enumerate(bodies):
        path = f"{send}/m{number}"
        work.append(partial(hostile.raw, "PUT", path, body, hostile.header("PUT", path, body)))
    room, user = quote("!" + "r" * 300 + ":x", safe=""), quote(hostile.users[0], safe="")
    paths = [
        f"{send}/{long_name}",
        f"{FEDERATION}/v1/make_join/{room}/{user}?ver=11",
        f"{FEDERATION}/v1/query/profile?user_id=%40",
        f"{FEDERATION}/v1/event/{long_name}",
        f"{FEDERATION}/v1/backfill/{long_name}?limit=-1",
        f"{FEDERATION}/v1/query/directory?room_alias=%23{long_name}%3A{hostile.name}",
    ]
    for path in paths:
        method = "PUT" if path.startswith(send) else "GET"
        work.append(partial(hostile.ask, method, path, {} if method == "PUT" else None))
    return await hostile.many(iter(work))


async def garbage_signatures(hostile: Hostile) -> Counter[int]:
    """Requests whose signatures are worth nothing: wrong, of no known key, of no known server."""
    path = f"{FEDERATION}/v1/send/g"
    content = encode_canonical_json({"pdus": [], "origin": hostile.name})
    honest = hostile.header("PUT", path, content)
    signature = honest.partition('sig="')[2].rstrip('"')

    def headers() -> Iterator[str]:
        for number in range(60):
            yield honest.replace(signature, secrets.token_urlsafe(64)[:86])
            yield honest.replace("ed25519:evil", f"ed25519:none{number}")
            yield honest.replace(hostile.name, f"nobody{number}.{hostile.name}")
        yield honest.replace(signature, "not base64!")
        yield "X-Matrix " + "a" * 5000
        yield "Bearer 1"
        yield honest.replace(hostile.name, hostile.target.server_name)

    return await hostile.many(partial(hostile.raw, "PUT", path, content, h) for h in headers())


async def slow_bodies(hostile: Hostile, over: asyncio.Event) -> int:
    """Hold connections whose bodies come a byte at a time; how many were not put up with."""
    connections = []
    for number in range(SLOW_SOCKETS):
        reader, writer = await hostile.connect()
        path = f"{FEDERATION}/v1/send/slow{number}"
        writer.write(hostile.head("PUT", path, 9 * MEGABYTE) + b"{")
        connections.append((reader, writer))
    refused = 0
    for reader, _ in connections[MOST_SLOW:]:
        refused += b" 429 " in await reader.readline()
    while not over.is_set():
        for _, writer in connections[:MOST_SLOW]:
            writer.write(b" ")
        await asyncio.sleep(0.2)
    for _, writer in connections:
        writer.close()
    return refused
