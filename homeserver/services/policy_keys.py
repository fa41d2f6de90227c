"""The policy server's keys: a file of their own in the data directory.

They are not the keys that this server federates with, so that a room can do without the one and
keep the other.  Spec: server-server API, validating policy server signatures.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from homeserver.protocol.signing import (
    SigningKey,
    format_signing_key,
    generate_signing_key,
    parse_signing_key_file,
)

FILE_NAME = "policy_server.key"
KEY_VERSION = "policy_server"  # every policy server's key has this name


def load_or_make(data_dir: Path) -> list[SigningKey]:
    """The keys, the first of which rooms are to name; made now if there are none.

    Raises :class:`OSError`, :class:`ValueError` for a file that cannot be read or holds no key.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        _make_first(path)
    try:
        keys = parse_signing_key_file(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not keys:
        raise ValueError(f"{path} holds no key")
    return keys


def rotate(data_dir: Path) -> SigningKey:
    """Put a new key before the others, which go on signing for the rooms that name them."""
    keys = [_new_key(), *load_or_make(data_dir)]
    path = data_dir / FILE_NAME
    _write(path.with_suffix(".new"), keys).rename(path)
    return keys[0]


def _make_first(path: Path) -> None:
    """Write the first key, unless another process does so at the same time."""
    partial = _write(path.with_suffix(f".{secrets.token_hex(4)}"), [_new_key()])
    try:
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink()


def _new_key() -> SigningKey:
    return generate_signing_key(secrets.token_bytes(32), KEY_VERSION)


def _write(path: Path, keys: list[SigningKey]) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(format_signing_key(key) for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return path
