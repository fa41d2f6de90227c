"""The container of unfinished uploads: what was synced is there, whatever happened since."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.sealing.keys import KeyFile
from homeserver.services.sealing.upload_file import MAX_RECORD_BYTES, UploadFile

PIECES = st.lists(st.binary(max_size=300), max_size=8)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    made = KeyFile(tmp_path / "media.keys")
    made.prepare()
    return made


def opened(path: Path, keys: KeyFile | None, seal: bool = True) -> UploadFile:
    return UploadFile(path, keys, seal=seal)


def content_of(path: Path, keys: KeyFile | None) -> bytes:
    file = opened(path, keys)
    content = b"".join(file.chunks())
    assert file.offset == len(content)
    file.close()
    return content


@pytest.mark.parametrize("seal", [True, False])
@settings(deadline=None)
@given(pieces=PIECES, reopened=st.booleans())
def test_what_was_appended_is_read(seal: bool, pieces: list[bytes], reopened: bool) -> None:
    with TemporaryDirectory() as directory:
        keys = KeyFile(Path(directory) / "keys")
        keys.prepare()
        path = Path(directory) / "upload"
        file = opened(path, keys, seal)
        for piece in pieces:
            file.append(piece)
            if reopened:
                file.close()
                file = opened(path, keys, seal)
        file.close()

        assert content_of(path, keys) == b"".join(pieces)


@pytest.mark.parametrize("seal", [True, False])
@settings(deadline=None)
@given(pieces=PIECES, data=st.data())
def test_a_file_that_is_cut_off_keeps_its_whole_records(
    seal: bool, pieces: list[bytes], data: st.DataObject
) -> None:
    """As after a kill in the middle of a write; and it can be gone on with."""
    with TemporaryDirectory() as directory:
        keys = KeyFile(Path(directory) / "keys")
        keys.prepare()
        path = Path(directory) / "upload"
        file = opened(path, keys, seal)
        for piece in pieces:
            file.append(piece)
        file.close()
        with path.open("r+b") as raw:
            raw.truncate(data.draw(st.integers(0, path.stat().st_size)))

        left = content_of(path, keys)
        file = opened(path, keys, seal)
        file.append(b"more")
        file.close()

        assert left in {b"".join(pieces[:n]) for n in range(len(pieces) + 1)}
        assert content_of(path, keys) == left + b"more"


@settings(deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=300), min_size=1), data=st.data())
def test_what_was_changed_is_never_read(pieces: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as directory:
        keys = KeyFile(Path(directory) / "keys")
        keys.prepare()
        path = Path(directory) / "upload"
        file = opened(path, keys)
        for piece in pieces:
            file.append(piece)
        file.sync()
        stored = bytearray(path.read_bytes())
        stored[data.draw(st.integers(49, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(stored)

        with pytest.raises(DamagedFile):
            list(file.chunks())
        file.close()
        assert content_of(path, keys) in {b"".join(pieces[:n]) for n in range(len(pieces))}


def test_what_is_tentative_counts_once_it_is_confirmed(tmp_path: Path, keys: KeyFile) -> None:
    path = tmp_path / "upload"
    file = opened(path, keys)
    file.append(b"one")
    file.append(b"wrong", tentative=True)
    file.drop()
    file.append(b"two", tentative=True)
    assert file.offset == 3

    file.confirm()

    assert file.offset == 6
    file.append(b"three", tentative=True)
    file.close()
    assert content_of(path, keys) == b"onetwo"


def test_a_large_piece_is_several_records(tmp_path: Path, keys: KeyFile) -> None:
    content = random.Random(1).randbytes(2 * MAX_RECORD_BYTES + 5)
    file = opened(tmp_path / "upload", keys)
    file.append(content)
    file.close()

    assert content_of(tmp_path / "upload", keys) == content
    assert content[:32] not in (tmp_path / "upload").read_bytes()


def test_it_is_sealed_with_the_key_of_its_beginning(tmp_path: Path, keys: KeyFile) -> None:
    file = opened(tmp_path / "upload", keys)
    file.append(b"one")
    file.close()
    keys.add()
    file = opened(tmp_path / "upload", keys)
    file.append(b"two")
    file.close()

    assert content_of(tmp_path / "upload", keys) == b"onetwo"


def test_something_else_is_not_taken_for_an_upload(tmp_path: Path, keys: KeyFile) -> None:
    (tmp_path / "upload").write_bytes(bytes(100))

    with pytest.raises(DamagedFile):
        opened(tmp_path / "upload", keys)
