"""The file of the keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from homeserver.services.sealing.errors import UnknownKey
from homeserver.services.sealing.keys import KeyFile, parse


def test_the_first_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "media.keys"

    made = [KeyFile(path).prepare() for _ in range(2)]

    assert made == [True, False]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["media.keys"]


def test_a_new_key_seals_and_the_old_one_still_opens(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "media.keys")
    keys.prepare()
    old = keys.newest()

    new = keys.add()

    assert keys.newest() == new != old
    assert keys.get(old.key_id) == old
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_a_key_that_another_process_adds_is_taken_up(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "media.keys")
    keys.prepare()
    keys.newest()

    added = KeyFile(keys.path).add()

    assert keys.get(added.key_id) == added
    assert keys.newest() == added


def test_an_unknown_key_is_told_by_its_id_alone(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "media.keys")
    keys.prepare()

    with pytest.raises(UnknownKey, match="0102030405060708"):
        keys.get(bytes.fromhex("0102030405060708"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "0102030405060708\n",
        "0102030405060708 c2VjcmV0\n",
        "xyz " + "A" * 43 + "=\n",
        ("0102030405060708 " + "A" * 43 + "=\n") * 2,
    ],
)
def test_a_file_without_proper_keys_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse(text)

    assert "AAAA" not in str(refused.value)


def test_a_key_does_not_show_its_secret(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "media.keys")
    keys.prepare()

    assert repr(keys.newest().secret) not in repr(keys.newest())
