"""``comity policy-server``: this server as the policy server of rooms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load
from homeserver.config import Config

USER_OPTION = click.option(
    "--user", "user_id", help="The local user who does it; by default the most powerful one there."
)


@click.group("policy-server")
def policy_server() -> None:
    """Sign events for rooms that have made this server their policy server."""


@policy_server.command()
@config_option
def key(config_path: Path | None) -> None:
    """Print the public key, and the content of the m.room.policy that appoints this server."""
    from homeserver.services.policy_keys import load_or_make

    config = load(config_path)
    try:
        keys = load_or_make(config.data_dir)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"The policy server's key cannot be read: {error}") from None
    _show(config, keys[0])


@policy_server.command()
@config_option
def rotate(config_path: Path | None) -> None:
    """Make a new key; the old ones sign on for rooms that still name them.

    Takes effect at the next start; each room's m.room.policy must then be set anew (appoint).
    """
    from homeserver.services import policy_keys

    config = load(config_path)
    try:
        new = policy_keys.rotate(config.data_dir)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"The policy server's key cannot be changed: {error}") from None
    _show(config, new)
    click.echo("It signs from the next start on: restart the server now")


def _show(config: Config, signing_key: Any) -> None:
    from homeserver.protocol.policy_servers import appointment_content

    content = appointment_content(config.server_name, signing_key.verify_key)
    click.echo(f"ed25519 {signing_key.verify_key.to_base64()}")
    click.echo(f"m.room.policy {json.dumps(content)}")
    if not config.policy_server.enabled:
        click.echo("policy_server.enabled is false: this server signs nothing", err=True)


@policy_server.command()
@click.argument("room_id")
@USER_OPTION
@config_option
def appoint(room_id: str, user_id: str | None, config_path: Path | None) -> None:
    """Make this server the policy server of a room that it is in (the server must run)."""
    _ask("POST", room_id, user_id, config_path)


@policy_server.command()
@click.argument("room_id")
@USER_OPTION
@config_option
def withdraw(room_id: str, user_id: str | None, config_path: Path | None) -> None:
    """Have a room use this server as policy server no longer (the server must run)."""
    _ask("DELETE", room_id, user_id, config_path)


def _ask(method: str, room_id: str, user_id: str | None, config_path: Path | None) -> None:
    from urllib.parse import quote

    from homeserver.cli.admin_client import ask

    body = {"user_id": user_id} if user_id is not None else {}
    path = f"/policy_server/rooms/{quote(room_id, safe='')}"
    answer = ask(load(config_path), method, path, body)
    click.echo(f"{answer['sender']} sent {answer['event_id']}")
