"""The commands of ``comity media`` about files that nobody may have."""

from __future__ import annotations

import re
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all, part
from homeserver.cli.loading import load
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time
from homeserver.cli.user_admin import user_path
from homeserver.config import Config
from homeserver.protocol.media_uris import parse_media_uri

HASH = re.compile(r"[0-9a-fA-F]{64}")


@click.command()
@click.argument("what")
@config_option
def quarantine(what: str, config_path: Path | None) -> None:
    """Let nobody have a file, a content, a user's files, or a room's; needs the running server.

    WHAT: an mxc:// URI, the SHA-256 of a content, a user ID, or a room ID. The content of files is
    quarantined as well, wherever it comes from. Another server's file need not be here yet.
    """
    config = load(config_path)
    ask(config, "PUT", _quarantine(config, what))
    click.echo("quarantined")


@click.command()
@click.argument("what")
@config_option
def unquarantine(what: str, config_path: Path | None) -> None:
    """Let people have files again; WHAT as for quarantine; needs the running server."""
    config = load(config_path)
    found = ask(config, "DELETE", _quarantine(config, what))
    if found.get("quarantined") and found.get("file"):
        content = found["file"]["sha256"]
        click.echo(f"its content is quarantined still: comity media unquarantine {content}")
    else:
        click.echo("no longer quarantined")


@click.command()
@click.argument("uri")
@config_option
def protect(uri: str, config_path: Path | None) -> None:
    """Have the file URI spared when all files of a user or a room are quarantined."""
    ask(load(config_path), "PUT", f"{file_path(uri)}/protection")
    click.echo("protected")


@click.command()
@click.argument("uri")
@config_option
def unprotect(uri: str, config_path: Path | None) -> None:
    """Protect the file URI no longer; needs the running server."""
    ask(load(config_path), "DELETE", f"{file_path(uri)}/protection")
    click.echo("no longer protected")


@click.command()
@click.argument("content", required=False)
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@config_option
def quarantined(content: str | None, most: int, config_path: Path | None) -> None:
    """Show quarantined contents, and addresses of files that are not here.

    CONTENT: a SHA-256, to show which files here have it.
    """
    config = load(config_path)
    if content is not None:
        for file in ask(config, "GET", f"/quarantined_content/{part(content)}")["files"]:
            click.echo(f"mxc://{file['origin']}/{file['media_id']} {file['uploader'] or ''}")
        return
    rows = [
        (one["sha256"], str(one["files"]), one["quarantined_by"], shown_time(one["quarantined_at"]))
        for one in ask_for_all(config, "/quarantined_content", {}, most)
    ]
    click.echo(table(("content", "files", "by", "since"), rows))
    addresses = [
        (
            f"mxc://{one['origin']}/{one['media_id']}",
            one["quarantined_by"],
            shown_time(one["quarantined_at"]),
        )
        for one in ask_for_all(config, "/quarantined_uris", {}, most)
    ]
    click.echo(table(("not here", "by", "since"), addresses))


def file_path(text: str) -> str:
    """Where the API has a file."""
    uri = parse_media_uri(text)
    if uri is None:
        raise click.ClickException(f"'{text}' is no file; write it as mxc://server/id")
    return f"/media/{part(uri.origin)}/{part(uri.media_id)}"


def _quarantine(config: Config, what: str) -> str:
    """Where it has the quarantine of a content, a file, or a user's or a room's files."""
    if HASH.fullmatch(what):
        return f"/quarantined_content/{what.lower()}"
    if what.startswith("!"):
        return f"/rooms/{part(what)}/media/quarantine"
    if parse_media_uri(what) is not None:
        return f"{file_path(what)}/quarantine"
    if "@" in what:
        return f"{user_path(config, what)}/media/quarantine"
    raise click.ClickException(f"'{what}' is no mxc:// URI, SHA-256, user ID or room ID")


COMMANDS = (quarantine, unquarantine, protect, unprotect, quarantined)
