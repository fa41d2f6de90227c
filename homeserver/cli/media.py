"""``comity media``: what files are to content policy, and those that wait for a moderator."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, part
from homeserver.cli.loading import load
from homeserver.cli.media_admin import COMMANDS as ADMIN_COMMANDS
from homeserver.cli.media_keys import drop_key, list_keys, new_key, reencrypt
from homeserver.cli.media_limits import limits
from homeserver.cli.media_quarantine import COMMANDS as QUARANTINE_COMMANDS
from homeserver.cli.media_storage import migrate
from homeserver.protocol.media_uris import MediaUri, parse_media_uri

PATH = "/moderation/held_media"


@click.group()
def media() -> None:
    """Look at files, and at those that content policy withholds; where files are kept, and keys."""


for _command in (
    list_keys,
    new_key,
    reencrypt,
    drop_key,
    limits,
    migrate,
    *ADMIN_COMMANDS,
    *QUARANTINE_COMMANDS,
):
    media.add_command(_command)


@media.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def facts(files: tuple[Path, ...]) -> None:
    """Show what content policy knows of FILES on this machine.

    The hashes are what lists of known files are made of (known_file in a rule).
    """
    from homeserver.services.media_facts import sniff

    for file in files:
        try:
            found = sniff(file)
        except OSError as error:
            raise click.ClickException(f"{file}: {error.strerror}") from None
        click.echo(f"{file}")
        click.echo(f"  mime_type   {found.mime_type}")
        click.echo(f"  size_bytes  {found.size_bytes}")
        click.echo(f"  sha256      {found.sha256.hex()}")
        if found.width is not None:
            click.echo(f"  image       {found.width} x {found.height}")
        if found.perceptual_hash is not None:
            click.echo(f"  perceptual  {found.perceptual_hash:016x}")


@media.command()
@config_option
def held(config_path: Path | None) -> None:
    """Show the files that wait for a moderator."""
    for entry in ask(load(config_path), "GET", PATH)["media"]:
        click.echo(_line(entry))


@media.command()
@click.argument("uri")
@config_option
def release(uri: str, config_path: Path | None) -> None:
    """Let the file URI (mxc://...) be downloaded."""
    ask(load(config_path), "POST", f"{_path(uri)}/release")
    click.echo(f"released: {uri}")


@media.command()
@click.argument("uri")
@config_option
def refuse(uri: str, config_path: Path | None) -> None:
    """Refuse the file URI (mxc://...) for good."""
    ask(load(config_path), "POST", f"{_path(uri)}/refuse")
    click.echo(f"refused: {uri}")


def _path(text: str) -> str:
    uri = parse_media_uri(text)
    if uri is None:
        raise click.ClickException(f"{text!r} is no file; write it as mxc://server/id")
    return f"{PATH}/{part(uri.origin)}/{part(uri.media_id)}"


def _line(entry: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry["created_at"] / 1000))
    uri = MediaUri(entry["origin"], entry["media_id"])
    who = entry.get("uploader", uri.origin)
    return f"mxc://{uri.origin}/{uri.media_id}  {at} UTC  {who}  {entry['action']}: {entry['rule']}"
