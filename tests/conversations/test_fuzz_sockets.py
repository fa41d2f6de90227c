"""Whatever comes over a socket, the server and everybody else's sockets live on."""

from __future__ import annotations

import asyncio
import base64
import random
import secrets
import zlib
from typing import Any

import msgspec
import orjson
import pytest

from client_api.conversations.ws import framing

from .conftest import ApiUser
from .fuzzing import SEED, watched_log
from .sockets import connected

HEADS = [*range(16), *(0x80 | opcode for opcode in range(16)), 0xC1, 0xC2, 0xC0, 0xC9, 0xF1, 0x41]
FRAMES_AT_ONCE = 40
SOCKETS = 40
KINDS = ("send", "edit", "react", "delete", "read", "typing", "presence", "ack", "ping", "hello")


class RawSocket:
    """A WebSocket of which every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def throw(self, data: bytes) -> None:
        """Send bytes; the server may have hung up."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def close_code(self) -> int:
        """The code of the close frame that ends what the server says."""
        while True:
            head = await self.reader.readexactly(2)
            size = head[1]
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            payload = await self.reader.readexactly(size)
            if head[0] & 0x0F == framing.CLOSE:
                return int.from_bytes(payload[:2], "big")


async def raw_socket(user: ApiUser) -> RawSocket:
    """After the handshake, with compression."""
    url = user.instance.client.make_url("/")
    assert url.host and url.port
    reader, writer = await asyncio.open_connection(url.host, url.port)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    writer.write(
        f"GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return RawSocket(reader, writer)


def frame(head: int, payload: bytes, *, mask: bytes | None = b"\x01\x02\x03\x04") -> bytes:
    """A frame with any first byte; ``mask`` None: unmasked, which clients may not."""
    size, bit = len(payload), 0x80 if mask else 0
    if size < 126:
        sizes = bytes((bit | size,))
    elif size < 65_536:
        sizes = bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        sizes = bytes((bit | 127,)) + size.to_bytes(8, "big")
    if mask is None:
        return bytes((head,)) + sizes + payload
    return bytes((head,)) + sizes + mask + framing.unmask(payload, mask)


def deflated(payload: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def anything(chance: random.Random, depth: int = 0) -> Any:
    """A value that MessagePack can say, and JSON not always."""
    leaves: list[Any] = [
        None, True, -1, 2**63, 2**64 - 1, 0.5, float("nan"), float("inf"), "", "a\0b", "\U0001f600",
        "x" * 300, b"\xff\x00", "everybody", "!x:one.test", "$x", msgspec.msgpack.Ext(5, b"x"),
    ]  # fmt: skip
    if depth > 3 or chance.random() < 0.7:
        return chance.choice(leaves)
    if chance.random() < 0.5:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(["a", "", 1]): anything(chance, depth + 1) for _ in range(3)}


def fields(chance: random.Random, room_id: str, message_id: str) -> dict[str, Any]:
    """A frame of the API, near to what it should be."""
    made: dict[str, Any] = {
        "type": chance.choice(KINDS),
        "client_id": str(chance.random()),
        "conversation_id": chance.choice([room_id, "!x:one.test", "a\0"]),
        "message_id": chance.choice([message_id, "$x", ""]),
        "text": "hello",
        "key": "👍",
        "token": "wrong",
        "state": "online",
        "position": chance.choice([0, 2**53, -1]),
        "custom": {"a": anything(chance)},
        "encrypted": {"a": anything(chance)},
    }
    by_kind = {
        "send": {"conversation_id", "text", "custom", "client_id"},
        "edit": {"conversation_id", "message_id", "text", "custom", "client_id"},
        "react": {"conversation_id", "message_id", "key", "client_id"},
        "delete": {"conversation_id", "message_id", "client_id"},
        "read": {"conversation_id", "message_id"},
        "typing": {"conversation_id"},
        "presence": {"state"},
        "ack": {"position"},
        "ping": {"client_id"},
        "hello": {"token"},
    }[made["type"]]
    made = {name: value for name, value in made.items() if name in by_kind | {"type"}}
    if chance.random() < 0.4:
        made[chance.choice(["type", *by_kind])] = anything(chance)
    return made


def said(chance: random.Random, asked: dict[str, Any]) -> bytes:
    """A frame's bytes: JSON or MessagePack, sometimes broken, compressed, or in pieces."""
    head = framing.TEXT
    try:
        payload = orjson.dumps(asked)
    except TypeError:
        head, payload = framing.BINARY, msgspec.msgpack.encode(asked)
    if chance.random() < 0.3:
        head, payload = framing.BINARY, msgspec.msgpack.encode(asked)
    if payload and chance.random() < 0.2:
        place = chance.randrange(len(payload))
        payload = payload[:place] + chance.randbytes(1) + payload[place + 1 :]
    if chance.random() < 0.2:
        return frame(0xC0 | head, deflated(payload))
    if chance.random() < 0.2:
        half = len(payload) // 2
        return frame(head, payload[:half]) + frame(0x89, b"x") + frame(0x80, payload[half:])
    return frame(0x80 | head, payload)


def noise(chance: random.Random) -> bytes:
    """What is no frame, or a wrong one."""
    mask = chance.choice([None, b"\0\0\0\0", chance.randbytes(4)])
    return chance.choice(
        [
            lambda: chance.randbytes(chance.randrange(200)),
            lambda: frame(chance.choice(HEADS), chance.randbytes(chance.randrange(200)), mask=mask),
            lambda: bytes((0x81, 0xFF)) + chance.randbytes(8) + b"abcd",
            lambda: frame(0xC1, deflated(b"\0" * 20_000_000)),
            lambda: frame(0xC1, chance.randbytes(50)),
            lambda: frame(0x81, b"\xed\xa0\x80"),
            lambda: frame(0x82, b"\x81\xa4type\xa4\xff\xff\xff\xff"),
            lambda: frame(0x82, b"\xdf\xff\xff\xff\xff"),
            lambda: frame(0x81, b"[" * 60_000),
            lambda: frame(0x82, b"\x91" * 60_000),
            lambda: frame(0x81, b"9" * 60_000),
            lambda: frame(0x89, b"x" * 200),
            lambda: frame(0x09, b"x"),
            lambda: frame(0x88, chance.randbytes(chance.randrange(5))),
            lambda: frame(0x81, b"x" * 2_000_000),
            lambda: frame(0x01, b"") + frame(0x00, b"") * 5_000,
            lambda: frame(0x01, b"{") + frame(0x01, b"}"),
        ]
    )()


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
async def test_no_frame_harms_the_server_or_another_socket(
    alice: ApiUser, bob: ApiUser, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    room_id = await alice.instance.room(alice.token)
    await bob.matrix("POST", f"/join/{room_id}", {})
    message_id = (await alice.instance.say(alice.token, room_id, "first"))["event_id"]
    async with connected(bob) as watching:
        with watched_log(caplog):
            for _ in range(SOCKETS):
                raw = await raw_socket(alice)
                for _ in range(chance.randrange(FRAMES_AT_ONCE)):
                    await raw.throw(said(chance, fields(chance, room_id, message_id)))
                await raw.throw(noise(chance))
                if chance.random() < 0.5:
                    raw.writer.transport.abort()
                else:
                    raw.writer.close()

        last = await alice.instance.say(alice.token, room_id, "last")
        seen = await watching.until("message.created")
        while seen["message"]["id"] != last["event_id"]:
            seen = await watching.until("message.created")

    page = await alice.get(f"/conversations/{room_id}/messages?limit=100")
    assert "last" in [message.get("text") for message in page["items"]]  # others may come after it


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(0x81, b"\xed\xa0\x80"), 1007),
        (frame(0x81, b"x" * 9, mask=None), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0xC1, deflated(b"\0" * 20_000_000)), 1009),
        (frame(0x01, b"") + frame(0x00, b"") * 5_000, 1009),
        (frame(0x09, b"x"), 1002),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_cut_off(
    alice: ApiUser, sent: bytes, code: int
) -> None:
    raw = await raw_socket(alice)

    await raw.throw(sent)

    assert await asyncio.wait_for(raw.close_code(), 10) == code
    raw.writer.close()


@pytest.mark.parametrize(
    "value", [b"\x00", msgspec.msgpack.Ext(5, b"x"), {1: 2}, "\ud800"], ids=repr
)
async def test_what_json_cannot_say_is_refused_in_messagepack(alice: ApiUser, value: Any) -> None:
    room_id = await alice.instance.room(alice.token)
    asked = {"type": "send", "conversation_id": room_id, "text": "a", "custom": {"a": "QQQQ"}}
    if value == "\ud800":
        packed = msgspec.msgpack.encode(asked).replace(b"QQQQ", b"\xed\xa0\x80Q")
    else:
        packed = msgspec.msgpack.encode({**asked, "custom": {"a": value}})
    async with connected(alice, protocols=["comity.v1.msgpack"]) as socket:
        await socket.ws.send_bytes(packed)

        assert (await socket.next())["problem"]["code"] == "invalid_json"

        await socket.send(type="ping", client_id="still here")
        assert (await socket.until("pong"))["client_id"] == "still here"
