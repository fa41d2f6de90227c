"""WebSocket frames.  Spec: RFC 6455, RFC 7692."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_api.conversations.ws import framing
from client_api.conversations.ws.framing import BadFrame, Frame, FrameReader

MASK = b"\x37\xfa\x21\x3d"


def masked(
    opcode: int, payload: bytes, *, fin: bool = True, bits: int = 0, mask: bytes = MASK
) -> bytes:
    """A frame as a client sends it."""
    head = bytes(((framing.FIN if fin else 0) | bits | opcode,))
    size = len(payload)
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65_536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def packed(payload: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def reader(max_bytes: int = 100_000, *, deflate: bool = True) -> FrameReader:
    return FrameReader(max_bytes=max_bytes, deflate=deflate)


def test_the_example_of_the_standard_is_read() -> None:
    """RFC 6455, section 5.7."""
    data = bytes.fromhex("818537fa213d7f9f4d5158")

    assert reader().feed(data) == [Frame(framing.TEXT, b"Hello")]


def test_the_example_of_the_standard_is_accepted() -> None:
    """RFC 6455, section 1.3."""
    assert framing.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("key", ["", "x", "dGhlIHNhbXBsZSBub25jZQ", "ZGdo"])
def test_what_is_no_key_is_not_accepted(key: str) -> None:
    assert framing.accept_key(key) is None


@given(
    messages=st.lists(
        st.tuples(st.booleans(), st.binary(max_size=300), st.integers(1, 4)), max_size=6
    ),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    mask=st.binary(min_size=4, max_size=4),
)
def test_messages_come_whole_however_they_are_cut(
    messages: list[tuple[bool, bytes, int]], cuts: list[int], mask: bytes
) -> None:
    """Split into frames, with pings between them, compressed or not, in packets of any size."""
    data, expected = b"", []
    for is_packed, payload, pieces in messages:
        body = packed(payload) if is_packed else payload
        step = -(-len(body) // pieces) or 1
        parts = [body[place : place + step] for place in range(0, len(body), step)] or [b""]
        for place, part in enumerate(parts):
            opcode = framing.BINARY if place == 0 else framing.CONTINUATION
            bits = framing.COMPRESSED if is_packed and place == 0 else 0
            fin = place == len(parts) - 1
            data += masked(opcode, part, fin=fin, bits=bits, mask=mask)
            if not fin:
                data += masked(framing.PING, b"?", mask=mask)
                expected.append(Frame(framing.PING, b"?"))
        expected.append(Frame(framing.BINARY, payload))
    frames, read, place, turn = [], reader(), 0, 0
    while place < len(data):
        step = cuts[turn % len(cuts)]
        frames += read.feed(data[place : place + step])
        place, turn = place + step, turn + 1

    assert frames == expected
    assert read.is_idle


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_what_is_written_is_read_by_a_client(size: int) -> None:
    payload = b"x" * size

    frame = framing.encode(framing.BINARY, payload)

    assert frame.endswith(payload)
    assert reader().feed(as_client(frame)) == [Frame(framing.BINARY, payload)]


def as_client(frame: bytes) -> bytes:
    """A server's frame with a mask of zeros."""
    head = 2 if frame[1] < 126 else 4 if frame[1] == 126 else 10
    return frame[:1] + bytes((frame[1] | 0x80,)) + frame[2:head] + b"\0\0\0\0" + frame[head:]


@given(st.binary(max_size=5_000))
def test_what_is_compressed_is_read_again(payload: bytes) -> None:
    frame = framing.encode_compressed(framing.BINARY, payload)

    assert reader().feed(as_client(frame)) == [Frame(framing.BINARY, payload)]


def test_what_is_short_or_gains_nothing_is_not_compressed() -> None:
    assert framing.encode_compressed(framing.TEXT, b"a" * 100)[0] == 0x81
    assert framing.encode_compressed(framing.TEXT, b"a" * 1_000)[0] == 0xC1
    assert framing.encode_compressed(framing.BINARY, bytes(range(256)) * 2)[0] in (0x82, 0xC2)


BAD: list[tuple[bytes, int]] = [
    (framing.encode(framing.TEXT, b"not masked"), 1002),
    (masked(framing.TEXT, b"x", bits=0x20), 1002),
    (masked(framing.TEXT, b"x", bits=0x10), 1002),
    (masked(0x3, b"x"), 1002),
    (masked(0xB, b"x"), 1002),
    (masked(framing.PING, b"x", fin=False), 1002),
    (masked(framing.PING, b"x" * 126), 1002),
    (masked(framing.PING, b"x", bits=framing.COMPRESSED), 1002),
    (masked(framing.CONTINUATION, b"of nothing"), 1002),
    (masked(framing.TEXT, b"a", fin=False) + masked(framing.TEXT, b"b"), 1002),
    (masked(framing.TEXT, b"\xff"), 1007),
    (masked(framing.TEXT, b"\xed\xa0\x80"), 1007),
    (masked(framing.TEXT, b"\xc3", fin=False) + masked(framing.CONTINUATION, b"("), 1007),
    (masked(framing.TEXT, b"\x07", bits=framing.COMPRESSED), 1007),
    (masked(framing.TEXT, b"x" * 1_001), 1009),
    (masked(framing.TEXT, b"x" * 600, fin=False) + masked(framing.CONTINUATION, b"x" * 600), 1009),
    (masked(framing.TEXT, packed(b"x" * 1_001), bits=framing.COMPRESSED), 1009),
    (b"\x81\xff" + (2**63).to_bytes(8, "big") + MASK, 1009),
]  # fmt: skip


@pytest.mark.parametrize(("data", "code"), BAD)
def test_a_breach_of_the_protocol_has_its_code(data: bytes, code: int) -> None:
    with pytest.raises(BadFrame) as error:
        reader(1_000).feed(data)

    assert error.value.code == code


def test_compression_that_was_not_agreed_is_a_breach() -> None:
    with pytest.raises(BadFrame):
        reader(deflate=False).feed(masked(framing.TEXT, packed(b"x"), bits=framing.COMPRESSED))


def test_a_frame_that_is_too_large_is_refused_by_its_head_alone() -> None:
    with pytest.raises(BadFrame) as error:
        reader(1_000).feed(b"\x81\xfe\xff\xff" + MASK)

    assert error.value.code == framing.TOO_BIG


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        reader(50).feed(data)
    except BadFrame as error:
        assert error.code in (1002, 1007, 1009)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", (1000, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x0f\xa1bye", (4001, "bye")),
    ],
)
def test_a_close_frame_is_read(payload: bytes, expected: tuple[int, str]) -> None:
    assert framing.parse_close(payload) == expected


@pytest.mark.parametrize(
    "payload", [b"\x03", b"\x03\xed", b"\x03\xee", b"\x00\x00", b"\x07\xd0", b"\x03\xe8\xff"]
)
def test_an_impossible_close_frame_is_a_breach(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        framing.parse_close(payload)


def test_a_long_reason_is_cut_between_characters() -> None:
    frame = framing.encode_close(4001, "ü" * 200)

    assert len(frame) <= 2 + framing.LONGEST_CONTROL
    assert framing.parse_close(frame[2:])[1] == "ü" * 61


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ("", False),
        ("permessage-deflate", True),
        ("Permessage-Deflate; client_max_window_bits", True),
        ("permessage-deflate; client_max_window_bits=10", True),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
        ("permessage-deflate; server_max_window_bits=15", True),
        ("permessage-deflate; server_max_window_bits=10", False),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits=7", False),
        ("permessage-deflate; server_no_context_takeover=1", False),
        ("permessage-deflate; unknown", False),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", False),
        ("x-webkit-deflate-frame", False),
    ],
)
def test_offers_of_compression_that_can_be_kept_are_taken(offers: str, agreed: bool) -> None:
    assert framing.accepts_deflate(offers) is agreed


def test_a_message_in_endless_pieces_is_refused() -> None:
    """Empty pieces never make a message too big; and each costs memory."""
    reading = reader()
    assert reading.feed(masked(framing.TEXT, b"", fin=False)) == []
    pieces = masked(framing.CONTINUATION, b"", fin=False) * framing.MOST_PARTS

    with pytest.raises(BadFrame) as refused:
        reading.feed(pieces)

    assert refused.value.code == framing.TOO_BIG


def test_pieces_of_one_message_do_not_count_for_the_next() -> None:
    reading = reader(max_bytes=4)
    for _ in range(3):
        reading.feed(masked(framing.TEXT, b"ab", fin=False))

        assert reading.feed(masked(framing.CONTINUATION, b"cd")) == [Frame(framing.TEXT, b"abcd")]
