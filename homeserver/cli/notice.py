"""``comity notice``: what this server tells its users."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load


@click.group()
def notice() -> None:
    """Tell users something in the server's own name; needs the running server."""


@notice.command()
@click.argument("users", nargs=-1, required=True)
@click.option("--text", help="What they are told; read from standard input if it is not given.")
@click.option("--contact", help="How to reach the admin: a URI, such as mailto:me@example.com.")
@click.option("--pin", is_flag=True, help="Clients show it until it is unpinned.")
@config_option
def send(
    users: tuple[str, ...],
    text: str | None,
    contact: str | None,
    pin: bool,
    config_path: Path | None,
) -> None:
    """Send a notice to USERS, each in a room of their own.  USERS: user IDs, addresses or names."""
    config = load(config_path)
    body = text if text is not None else sys.stdin.read()
    if not body.strip():
        raise click.ClickException("There is nothing to tell")
    content = {"body": body.strip()}
    if contact is not None:
        content["admin_contact"] = contact
    names = [user if "@" in user else f"@{user}:{config.server_name}" for user in users]
    request = {"user_ids": names, "content": content, "pin": pin}
    failed = False
    for result in ask(config, "POST", "/server_notices", request)["results"]:
        failed = failed or "error" in result
        click.echo(f"{result['user_id']}: {result.get('error') or 'sent'}")
    if failed:
        raise click.ClickException("Not everybody was told")
