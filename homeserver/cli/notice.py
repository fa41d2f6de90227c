"""``comity notice``: what this server tells its users."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.config import Config

AT_ONCE = 100
PATH = "/server_notices"


@click.group()
def notice() -> None:
    """Tell users something in the server's own name; needs the running server."""


@notice.command()
@click.argument("users", nargs=-1)
@click.option("--everyone", is_flag=True, help="Tell all users of this server, guests aside.")
@click.option("--text", help="What they are told; read from standard input if it is not given.")
@click.option("--contact", help="How to reach the admin: a URI, such as mailto:me@example.com.")
@click.option("--pin", is_flag=True, help="Clients show it until it is unpinned.")
@click.option("--id", "txn_id", help="Who was told something under this name is not told again.")
@config_option
def send(
    users: tuple[str, ...],
    everyone: bool,
    text: str | None,
    contact: str | None,
    pin: bool,
    txn_id: str | None,
    config_path: Path | None,
) -> None:
    """Send a notice to USERS, each in a room of their own.  USERS: user IDs, addresses or names."""
    config = load(config_path)
    if everyone == bool(users):
        raise click.ClickException("Name users, or say --everyone")
    body = (text if text is not None else sys.stdin.read()).strip()
    if not body:
        raise click.ClickException("There is nothing to tell")
    content = {"body": body} | ({"admin_contact": contact} if contact is not None else {})
    request: dict[str, Any] = {"content": content, "pin": pin}
    if everyone or txn_id is not None:
        request["txn_id"] = txn_id or secrets.token_hex(8)
    if not everyone:
        names = [user if "@" in user else f"@{user}:{config.server_name}" for user in users]
        requests: Iterable[dict[str, Any]] = (
            {**request, "user_ids": names[i : i + AT_ONCE]} for i in range(0, len(names), AT_ONCE)
        )
        results = [r for one in requests for r in ask(config, "POST", PATH, one)["results"]]
    else:
        click.echo(f"If this is interrupted, go on with --id {request['txn_id']}")
        results = _tell_everyone(config, request)
    failed = [result for result in results if "error" in result]
    for result in failed if everyone else results:
        click.echo(f"{result['user_id']}: {result.get('error') or 'sent'}")
    click.echo(f"{len(results) - len(failed)} told, {len(failed)} not")
    if failed:
        raise click.ClickException("Not everybody was told")


def _tell_everyone(config: Config, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Page after page."""
    results: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = ask(config, "POST", PATH, {**request, "everyone": True, "after": after})
        results += answer["results"]
        if "next" not in answer:
            return results
        after = answer["next"]
