"""``comity keys``: this server's signing keys."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load


@click.group()
def keys() -> None:
    """The Ed25519 keys that sign this server's events and requests."""


@keys.command("list")
@config_option
def list_keys(config_path: Path | None) -> None:
    """Show the public part of the keys in use; the first one signs."""
    from homeserver.protocol.canonical import encode_base64
    from homeserver.protocol.signing import parse_signing_key_file

    config = load(config_path)
    for key in parse_signing_key_file(config.signing_key_file.read_text("utf-8")):
        click.echo(f"{key.key_id} {encode_base64(key.verify_key.data)}")


@keys.command()
@config_option
def rotate(config_path: Path | None) -> None:
    """Make a new signing key; the old one stays published, so that what it signed stays valid.

    Takes effect at the next start.
    """
    from homeserver.protocol.signing import format_signing_key, generate_signing_key

    config = load(config_path)
    path = config.signing_key_file
    key = generate_signing_key(secrets.token_bytes(32), f"a_{secrets.token_hex(3)}")
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(format_signing_key(key))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    click.echo(f"{key.key_id} signs from the next start on; restart the server now")
