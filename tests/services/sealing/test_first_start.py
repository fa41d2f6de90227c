"""The keys at the start of an instance."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from homeserver.config import Config, ConfigError, load_config
from homeserver.wiring.media_files import media_files


def config(directory: Path, **media: object) -> Config:
    directory.mkdir(exist_ok=True)
    path = directory / "comity.yaml"
    path.write_text(yaml.safe_dump({"server_name": "one.test", "data_dir": ".", "media": media}))
    return load_config(path, {})


def test_a_new_instance_makes_a_key_and_seals(tmp_path: Path) -> None:
    files = media_files(config(tmp_path))

    assert files.seal
    assert (tmp_path / "media.keys").exists()


def test_an_instance_that_does_not_encrypt_makes_no_key(tmp_path: Path) -> None:
    files = media_files(config(tmp_path, encryption_at_rest=False))

    assert not files.seal
    assert not (tmp_path / "media.keys").exists()


@pytest.mark.parametrize("encrypts", [True, False])
def test_an_instance_whose_keys_are_missing_does_not_start(tmp_path: Path, encrypts: bool) -> None:
    stored = tmp_path / "media" / "ab" / "cd" / "abcd.sealed"
    stored.parent.mkdir(parents=True)
    stored.touch()

    with pytest.raises(ConfigError, match=r"media\.keys is missing"):
        media_files(config(tmp_path, encryption_at_rest=encrypts))

    assert not (tmp_path / "media.keys").exists()


def test_an_instance_whose_keys_are_unreadable_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "media.keys").write_text("not a key\n")

    with pytest.raises(ConfigError, match="line 1 is no key"):
        media_files(config(tmp_path))
