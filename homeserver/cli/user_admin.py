"""The commands of ``comity user`` that ask the running server."""

from __future__ import annotations

from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all, part
from homeserver.cli.loading import load
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time
from homeserver.config import Config


def user_path(config: Config, name: str) -> str:
    """Where the API has a user: ``alice``, ``alice@this.server`` or ``@alice:this.server``."""
    return f"/users/{part(name if '@' in name else f'@{name}:{config.server_name}')}"


@click.command()
@click.argument("text", required=False)
@click.option("--admin/--no-admin", default=None, help="Only admins, or only others.")
@click.option("--deactivated/--active", default=None, help="Only ended accounts, or only others.")
@click.option("--newest", is_flag=True, help="The newest first.")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@config_option
def find(
    text: str | None,
    admin: bool | None,
    deactivated: bool | None,
    newest: bool,
    most: int,
    config_path: Path | None,
) -> None:
    """Show accounts with TEXT in their ID or display name; needs the running server."""
    query = {
        "search": text,
        "admin": admin,
        "deactivated": deactivated,
        "order": "newest" if newest else None,
    }
    rows = [
        (
            found["user_id"],
            found["display_name"] or "",
            shown_time(found["created_at"]),
            shown_time(found["last_seen_at"]),
        )
        for found in ask_for_all(load(config_path), "/users", query, most)
    ]
    click.echo(table(("user", "name", "made", "last seen"), rows))


@click.command()
@click.argument("name")
@config_option
def show(name: str, config_path: Path | None) -> None:
    """Show the account NAME, its devices and how much it has; needs the running server."""
    config = load(config_path)
    path = user_path(config, name)
    found = ask(config, "GET", path)
    for key, value in {**found["user"], **found["figures"]}.items():
        if value not in (None, False):
            click.echo(f"{key}: {shown_time(value) if key.endswith('_at') else value}")
    for address in found["emails"]:
        click.echo(f"email: {address}")
    devices = ask(config, "GET", f"{path}/devices")["devices"]
    rows = [
        (d["device_id"], d["display_name"] or "", shown_time(d["last_seen_at"])) for d in devices
    ]
    click.echo(table(("device", "name", "last seen"), rows))


@click.command()
@click.argument("name")
@click.option("--keep-sessions", is_flag=True, help="Leave the user's devices signed in.")
@click.password_option(help="The password; asked for if it is not given.")
@config_option
def password(name: str, keep_sessions: bool, password: str, config_path: Path | None) -> None:
    """Give the account NAME another password; needs the running server."""
    config = load(config_path)
    body = {"password": password, "sign_out": not keep_sessions}
    ask(config, "POST", f"{user_path(config, name)}/password", body)
    click.echo("changed")


@click.command("sign-out")
@click.argument("name")
@click.argument("devices", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All devices.")
@config_option
def sign_out(name: str, devices: tuple[str, ...], all_: bool, config_path: Path | None) -> None:
    """Sign DEVICES of the account NAME out; needs the running server."""
    config = load(config_path)
    body = {"device_ids": list(devices), "all": all_}
    left = ask(config, "POST", f"{user_path(config, name)}/sign_out", body)["devices"]
    click.echo(f"signed out; {len(left)} left")


@click.command()
@click.argument("name")
@click.option("--most", type=click.IntRange(min=1), default=1_000, show_default=True)
@config_option
def rooms(name: str, most: int, config_path: Path | None) -> None:
    """Show the rooms that the account NAME is in; needs the running server."""
    config = load(config_path)
    for room_id in ask_for_all(config, f"{user_path(config, name)}/rooms", {}, most):
        click.echo(room_id)


COMMANDS = (find, show, password, sign_out, rooms)
