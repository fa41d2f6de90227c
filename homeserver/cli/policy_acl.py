"""``comity policy acl``: server ACLs of rooms of this server, in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load

PATH = "/rooms/acl"


@click.command()
@click.argument("room")
@click.option("--deny", multiple=True, metavar="SERVER", help="Keep this server out.")
@click.option("--undeny", multiple=True, metavar="SERVER", help="No longer keep it out.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def acl(
    room: str, deny: tuple[str, ...], undeny: tuple[str, ...], yes: bool, config_path: Path | None
) -> None:
    """Change the server ACL of ROOM (an ID or alias), or of "all" rooms made on this server.

    It is sent by the most powerful user of this server in the room. SERVER may have wildcards.
    Rooms where nobody here has the power are named.
    """
    config = load(config_path)
    body: dict[str, Any] = {"room": room, "deny": list(deny), "undeny": list(undeny)}
    planned = ask(config, "POST", PATH, body)
    possible = [entry for entry in planned["rooms"] if entry["problem"] is None]
    for entry in planned["rooms"]:
        click.echo(_line(entry))
    click.echo(f"{len(possible)} rooms to change, {planned['unchanged']} as they should be")
    if not possible:
        return
    if not yes:
        click.confirm("Send these?", abort=True)
    sent = ask(config, "POST", PATH, {**body, "send": True})["rooms"]
    failed = [entry for entry in sent if entry["problem"] is not None]
    click.echo(f"changed: {len(sent) - len(failed)}")
    for entry in failed:
        click.echo(f"not changed: {entry['room_id']}: {entry['problem']}")


def _line(entry: dict[str, Any]) -> str:
    """A room's change on one line."""
    if entry["problem"] is not None:
        return f"{entry['room_id']}: cannot be changed: {entry['problem']}"
    parts = [f"+ {server}" for server in entry["added"]]
    parts += [f"- {server}" for server in entry["removed"]]
    return f"{entry['room_id']}: {', '.join(parts)}, by {entry['sender']}"
