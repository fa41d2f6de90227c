"""``comity consent``: what a user has agreed to."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load

SCOPES = ("message", "group", "media", "call", "presence", "typing", "receipts", "federation")
STATES = ("granted", "denied", "revoked", "cleared")


@click.group()
def consent() -> None:
    """See and change what a user has agreed to; needs the running server."""


@consent.command()
@click.argument("user")
@config_option
def show(user: str, config_path: Path | None) -> None:
    """Print USER's answers, rows and latest changes.  USER: a user ID or an address."""
    found = ask(load(config_path), "GET", f"/users/{quote(user, safe='')}/consent")
    for scope, held in found["scopes"].items():
        if "answers" in held:
            answers = ", ".join(f"{tier} {answer}" for tier, answer in held["answers"].items())
            click.echo(f"{scope}: {held['preset'] or answers}")
        else:
            click.echo(f"{scope}: {held['state'] or 'not said'}")
    for row in found["rows"]:
        click.echo(f"{row['scope']} {row['peer']}: {row['state']} ({row['how']})")
    for change in found["changes"][:20]:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(change["created_at"] / 1000))
        what = f"{change['scope']} {change['peer']} {change['state']}"
        click.echo(f"{when}  {what} by {change['actor']} ({change['how']})")


@consent.command("set")
@click.argument("user")
@click.argument("scope", type=click.Choice(SCOPES))
@click.argument("peer")
@click.argument("state", type=click.Choice(STATES))
@click.option("--days", type=click.IntRange(min=1), help="For how many days; by default for good.")
@config_option
def set_consent(
    user: str, scope: str, peer: str, state: str, days: int | None, config_path: Path | None
) -> None:
    """Set a row of USER's.  PEER: a user, a server name, or '*'.  USER's history says who did."""
    body: dict[str, object] = {"state": state}
    if days is not None:
        body["expires_at"] = time.time_ns() // 1_000_000 + days * 86_400_000
    path = f"/users/{quote(user, safe='')}/consent/{scope}/{quote(peer, safe='')}"
    ask(load(config_path), "PUT", path, body)
    click.echo(f"{user}: {scope} {peer} {state}")
