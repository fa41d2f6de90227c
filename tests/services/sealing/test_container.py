"""The container of sealed files: what was written is read, and nothing else ever is."""

from __future__ import annotations

import io
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.services.sealing.container import (
    FRAME_BYTES,
    HEADER_BYTES,
    SEALED_FRAME_BYTES,
    SealedReader,
    SealingWriter,
    sealed_size,
)
from homeserver.services.sealing.errors import DamagedFile, UnknownKey
from homeserver.services.sealing.keys import SealingKey, new_key

LENGTHS = st.one_of(
    st.integers(0, 300),
    st.builds(lambda n, d: max(0, n * FRAME_BYTES + d), st.integers(0, 5), st.integers(-3, 3)),
    st.integers(0, 5 * FRAME_BYTES),
)


class OneKey:
    """A set of keys."""

    def __init__(self, *keys: SealingKey) -> None:
        self.keys = {key.key_id: key for key in keys}

    def newest(self) -> SealingKey:
        return list(self.keys.values())[-1]

    def get(self, key_id: bytes) -> SealingKey:
        if key_id not in self.keys:
            raise UnknownKey("unknown")
        return self.keys[key_id]


KEYS = OneKey(new_key())


def sealed(content: bytes, pieces: int = 1, keys: OneKey = KEYS) -> bytes:
    """Content, written in some pieces, as it lies on disk."""
    file = io.BytesIO()
    writer = SealingWriter(file, keys.newest())
    step = max(1, -(-len(content) // pieces))
    for start in range(0, len(content), step):
        writer.write(content[start : start + step])
    writer.finish()
    return file.getvalue()


def read(stored: bytes, keys: OneKey = KEYS) -> bytes:
    """What a reader makes of what lies on disk."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        path.write_bytes(stored)
        with SealedReader(path.open("rb"), keys) as reader:
            return reader.read()


def some_bytes(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 9))
def test_content_of_any_length_comes_back(length: int, pieces: int) -> None:
    content = some_bytes(length)

    stored = sealed(content, pieces)

    assert read(stored) == content
    assert len(stored) == sealed_size(length)
    assert length < 16 or content not in stored


@settings(deadline=None)
@given(LENGTHS, st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 200_000)), max_size=8))
def test_any_range_comes_back(length: int, ranges: list[tuple[int, int]]) -> None:
    content = some_bytes(length)

    with TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        path.write_bytes(sealed(content))
        with SealedReader(path.open("rb"), KEYS) as reader:
            found = [(reader.seek(start), reader.read(count))[1] for start, count in ranges]

            assert found == [content[start : start + count] for start, count in ranges]
            assert reader.size == length


@settings(deadline=None)
@given(LENGTHS, st.data())
def test_a_change_of_any_byte_is_found(length: int, data: st.DataObject) -> None:
    stored = bytearray(sealed(some_bytes(length)))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(DamagedFile):
        read(bytes(stored))


@settings(deadline=None)
@given(LENGTHS, st.data())
def test_a_file_cut_off_anywhere_is_found_when_it_is_opened(
    length: int, data: st.DataObject
) -> None:
    stored = sealed(some_bytes(length))
    cut = stored[: data.draw(st.integers(0, len(stored) - 1))]

    with TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        path.write_bytes(cut)
        with pytest.raises(DamagedFile):
            SealedReader(path.open("rb"), KEYS)


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_a_file_cut_off_between_frames_is_found(frames: int) -> None:
    stored = sealed(some_bytes(frames * FRAME_BYTES))

    for kept in range(frames):
        with pytest.raises(DamagedFile):
            read(stored[: HEADER_BYTES + kept * SEALED_FRAME_BYTES])


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=SEALED_FRAME_BYTES + 5), LENGTHS)
def test_what_is_appended_is_found(tail: bytes, length: int) -> None:
    with pytest.raises(DamagedFile):
        read(sealed(some_bytes(length)) + tail)


@settings(deadline=None)
@given(st.permutations(range(4)))
def test_frames_in_another_order_are_found(order: list[int]) -> None:
    content = some_bytes(4 * FRAME_BYTES)
    stored = sealed(content)
    frames = [
        stored[HEADER_BYTES + n * SEALED_FRAME_BYTES :][:SEALED_FRAME_BYTES] for n in range(4)
    ]
    mixed = stored[:HEADER_BYTES] + b"".join(frames[n] for n in order)

    if order == [0, 1, 2, 3]:
        assert read(mixed) == content
    else:
        with pytest.raises(DamagedFile):
            read(mixed)


def test_a_frame_of_another_file_is_found() -> None:
    content = some_bytes(3 * FRAME_BYTES)
    one, other = sealed(content), sealed(content)
    middle = slice(HEADER_BYTES + SEALED_FRAME_BYTES, HEADER_BYTES + 2 * SEALED_FRAME_BYTES)

    with pytest.raises(DamagedFile):
        read(one[: middle.start] + other[middle] + one[middle.stop :])


def test_the_same_content_never_looks_the_same() -> None:
    assert sealed(b"content") != sealed(b"content")


def test_files_of_an_older_key_are_read_and_of_an_unknown_one_are_not() -> None:
    old, new = new_key(), new_key()
    stored = sealed(b"content", keys=OneKey(old))

    assert read(stored, OneKey(old, new)) == b"content"
    with pytest.raises(UnknownKey):
        read(stored, OneKey(new))


def test_only_the_frames_that_are_asked_for_are_opened(tmp_path: Path) -> None:
    content = some_bytes(5 * FRAME_BYTES)
    stored = bytearray(sealed(content))
    stored[HEADER_BYTES + 2 * SEALED_FRAME_BYTES] ^= 1  # frame 2 is damaged
    (tmp_path / "file").write_bytes(stored)

    with SealedReader((tmp_path / "file").open("rb"), KEYS) as reader:
        reader.seek(3 * FRAME_BYTES)

        assert reader.read(FRAME_BYTES) == content[3 * FRAME_BYTES : 4 * FRAME_BYTES]
        reader.seek(2 * FRAME_BYTES)
        with pytest.raises(DamagedFile):
            reader.read(1)
