"""The commands of ``comity media`` that ask the running server for files and their removal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all
from homeserver.cli.loading import load
from homeserver.cli.media_quarantine import file_path
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time
from homeserver.cli.user_admin import user_path

DAY_MS = 86_400_000


@click.command("of-user")
@click.argument("name")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@config_option
def of_user(name: str, most: int, config_path: Path | None) -> None:
    """Show what the user NAME uploaded; needs the running server."""
    config = load(config_path)
    rows = [
        (
            f"mxc://{one['origin']}/{one['media_id']}",
            one["content_type"],
            str(one["size_bytes"]),
            shown_time(one["created_at"]),
            "quarantined" if one["quarantined_by"] is not None else "",
        )
        for one in ask_for_all(config, f"{user_path(config, name)}/media", {}, most)
    ]
    click.echo(table(("file", "type", "bytes", "uploaded", ""), rows))


@click.command()
@click.argument("uri", required=False)
@click.option("--user", help="What this user uploaded.")
@click.option("--days", type=click.IntRange(min=0), help="What was uploaded longer ago.")
@click.confirmation_option(prompt="The files will be gone for good. Go on?")
@config_option
def delete(uri: str | None, user: str | None, days: int | None, config_path: Path | None) -> None:
    """Delete the file URI, or many uploads by a job; needs the running server."""
    config = load(config_path)
    if uri is not None:
        if user is not None or days is not None:
            raise click.ClickException("Name a file, or say --user or --days")
        ask(config, "DELETE", file_path(uri))
        click.echo("deleted")
        return
    body: dict[str, Any] = {}
    if user is not None:
        body["user_id"] = user if "@" in user else f"@{user}:{config.server_name}"
    if days is not None:
        body["before"] = _days_ago(days)
    _begun(ask(config, "POST", "/media/delete", body))


@click.command("purge-cache")
@click.option("--days", type=click.IntRange(min=0), required=True, help="Unused for so long.")
@config_option
def purge_cache(days: int, config_path: Path | None) -> None:
    """Delete copies of other servers' files; needs the running server."""
    body = {"unused_since": _days_ago(days)}
    _begun(ask(load(config_path), "POST", "/media/purge_cache", body))


@click.command()
@click.option("--forget", "what", help="Forget what this host, or this URL, led to.")
@config_option
def previews(what: str | None, config_path: Path | None) -> None:
    """Show how many previews of links are kept, or forget some; needs the running server."""
    config = load(config_path)
    if what is not None:
        found = ask(config, "POST", "/url_previews/forget", {"what": what})
        click.echo(f"{found['previews']} forgotten")
        return
    found = ask(config, "GET", "/url_previews")
    click.echo(f"previews: {found['previews']}")
    click.echo(f"bytes of their pictures: {found['picture_bytes']}")
    if not found["enabled"]:
        click.echo("previews are off: url_previews.enabled")


def _days_ago(days: int) -> int:
    return time.time_ns() // 1_000_000 - days * DAY_MS


def _begun(begun: dict[str, Any]) -> None:
    click.echo(f"job {begun['job_id']} has begun: comity job show {begun['job_id']}")


COMMANDS = (of_user, delete, purge_cache, previews)
