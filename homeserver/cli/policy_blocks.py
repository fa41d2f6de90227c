"""``comity policy block``, ``unblock``, ``blocks``: an attack ends with one command."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load

SPAN = re.compile(r"([1-9][0-9]{0,5})([mhdw])", re.ASCII)
SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
PATH = "/servers/blocks"


def parse_span(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """``30m``, ``12h``, ``7d``, ``2w`` in seconds; a click callback."""
    if text is None:
        return None
    found = SPAN.fullmatch(text)
    if found is None:
        raise click.BadParameter("write it as 30m, 12h, 7d or 2w")
    return int(found[1]) * SECONDS[found[2]]


@click.command()
@click.argument("server")
@click.option("--reason", default="", help="Why; your users can read it.")
@click.option("--for", "seconds", callback=parse_span, help="For how long: 30m, 12h, 7d, 2w.")
@click.option("--exempt", is_flag=True, help="The contrary: lists and rules do not block it.")
@config_option
def block(
    server: str, reason: str, seconds: int | None, exempt: bool, config_path: Path | None
) -> None:
    """Refuse everything from SERVER, and send it nothing.

    SERVER may have wildcards: "*.spam.example". It works at once, and message requests of its users
    disappear. What was addressed to it waits for 7 days at most.
    """
    body: dict[str, Any] = {"server": server, "reason": reason, "exempt": exempt}
    if seconds is not None:
        body["for_seconds"] = seconds
    answer = ask(load(config_path), "POST", PATH, body)
    click.echo(f"{'exempt' if exempt else 'blocked'}: {_line(answer)}")


@click.command()
@click.argument("server")
@config_option
def unblock(server: str, config_path: Path | None) -> None:
    """Deal with SERVER again; if a list blocks it, it becomes exempt from lists."""
    ask(load(config_path), "DELETE", f"{PATH}?server={quote(server, safe='')}")
    click.echo(f"unblocked: {server}")


@click.command()
@config_option
def blocks(config_path: Path | None) -> None:
    """Show the blocked servers, and those exempt from lists."""
    answer = ask(load(config_path), "GET", PATH)
    for entry in answer["blocks"]:
        click.echo(_line(entry))
    for entry in answer["exempt"]:
        click.echo(f"exempt: {_line(entry)}")
    if not answer["blocks"] and not answer["exempt"]:
        click.echo("No server is blocked.")


def _line(entry: dict[str, Any]) -> str:
    """A block on one line."""
    parts = [entry["server"], f"since {_day(entry['created_at'])}"]
    if entry["expires_at"] is not None:
        parts.append(f"until {_day(entry['expires_at'])}")
    parts.append(f"by {entry['created_by'] or entry['source']}")
    line = ", ".join(parts)
    return f"{line}: {entry['reason']}" if entry["reason"] else line


def _day(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(milliseconds / 1000)) + " UTC"
