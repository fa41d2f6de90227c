"""``comity user``: accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load, with_database
from homeserver.cli.user_admin import COMMANDS
from homeserver.config import Config
from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import InvalidIdentifier, UserId, parse_address
from homeserver.storage.admin_audit import note_deed
from homeserver.storage.database import Database
from homeserver.wiring import Wiring

COMMAND_LINE = "command line"


@click.group()
def user() -> None:
    """Make, list and change accounts; works while the server runs and while it does not.

    Those that say so need the running server.
    """


for _command in COMMANDS:
    user.add_command(_command)


def _with_wiring(
    config: Config, work: Callable[[Wiring], Awaitable[None]], deed: tuple[str, str] | None = None
) -> None:
    """Work on the database; ``deed``, an action and whose account, goes to the audit trail."""
    from homeserver.app import load_signing_keys
    from homeserver.cli.up import prepare_signing_key

    prepare_signing_key(config)

    async def run(database: Database) -> None:
        wiring = Wiring(config, database, load_signing_keys(config))
        await wiring.log.start()
        try:
            await work(wiring)
            if deed is not None:
                await note_deed(database, COMMAND_LINE, *deed)
        except MatrixError as error:
            raise click.ClickException(error.text) from error
        finally:
            await wiring.log.close()
            await wiring.transport.connections.close()
            await wiring.transport.resolver.close()
            wiring.passwords.close()

    with_database(config, run)


def _user_id(wiring: Wiring, name: str) -> UserId:
    """``alice``, ``alice@this.server`` or ``@alice:this.server``."""
    if "@" not in name:
        name = f"@{name}:{wiring.config.server_name}"
    try:
        return parse_address(name)
    except InvalidIdentifier as error:
        raise click.ClickException(f"'{name}' is not a user name") from error


@user.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="May administer this server.")
@click.password_option(help="The password; asked for if it is not given.")
@config_option
def add(name: str, admin: bool, password: str, config_path: Path | None) -> None:
    """Make the account NAME (alice, alice@this.server or @alice:this.server)."""

    async def work(wiring: Wiring) -> None:
        user_id = await wiring.accounts.create(name, password, admin)
        click.echo(f"made {user_id}")

    _with_wiring(load(config_path), work, ("create_user", name))


@user.command("list")
@config_option
def list_users(config_path: Path | None) -> None:
    """Show all accounts."""

    async def work(wiring: Wiring) -> None:
        for account in await wiring.accounts.list_accounts():
            marks = [
                word
                for word, set_ in (
                    ("admin", account.admin),
                    ("guest", account.guest),
                    ("locked", account.locked_at is not None),
                    ("suspended", account.suspended_at is not None),
                    ("deactivated", account.deactivated_at is not None),
                )
                if set_
            ]
            click.echo(" ".join((account.user_id, *marks)))

    _with_wiring(load(config_path), work)


@user.command()
@click.argument("name")
@click.option("--erase", is_flag=True, help="Also hide what they wrote from new members.")
@config_option
def deactivate(name: str, erase: bool, config_path: Path | None) -> None:
    """Close the account NAME for good: nobody can log in to it or take its name."""

    async def work(wiring: Wiring) -> None:
        user_id = _user_id(wiring, name)
        await wiring.accounts.deactivate(user_id, erase=erase)
        await wiring.account_deletion.settle()
        click.echo(f"deactivated {user_id}")

    _with_wiring(load(config_path), work, ("deactivate_user", name))


@user.command()
@click.argument("name")
@click.option("--revoke", is_flag=True, help="Take the right away.")
@config_option
def admin(name: str, revoke: bool, config_path: Path | None) -> None:
    """Let the account NAME administer this server."""

    async def work(wiring: Wiring) -> None:
        user_id = _user_id(wiring, name)
        await wiring.accounts.set_admin(user_id, not revoke)
        click.echo(f"{user_id} is {'no longer an' if revoke else 'an'} admin")

    _with_wiring(load(config_path), work, ("change_user", name))


def _set_standing(
    name: str,
    config_path: Path | None,
    said: str,
    change: Callable[[Wiring, UserId], Awaitable[None]],
) -> None:
    async def work(wiring: Wiring) -> None:
        user_id = _user_id(wiring, name)
        await change(wiring, user_id)
        click.echo(f"{said} {user_id}")

    _with_wiring(load(config_path), work, ("change_user", name))


@user.command()
@click.argument("name")
@config_option
def lock(name: str, config_path: Path | None) -> None:
    """Lock the account NAME: its user can do nothing but log out until it is unlocked.

    A running server knows within seconds.
    """

    _set_standing(
        name,
        config_path,
        "locked",
        lambda wiring, user_id: wiring.standing.set_locked(user_id, True, by=COMMAND_LINE),
    )


@user.command()
@click.argument("name")
@config_option
def unlock(name: str, config_path: Path | None) -> None:
    """Unlock the account NAME."""

    _set_standing(
        name,
        config_path,
        "unlocked",
        lambda wiring, user_id: wiring.standing.set_locked(user_id, False, by=COMMAND_LINE),
    )


@user.command()
@click.argument("name")
@config_option
def suspend(name: str, config_path: Path | None) -> None:
    """Suspend the account NAME: its user reads and leaves, but neither writes nor joins.

    A running server knows within seconds.
    """

    _set_standing(
        name,
        config_path,
        "suspended",
        lambda wiring, user_id: wiring.standing.set_suspended(user_id, True, by=COMMAND_LINE),
    )


@user.command()
@click.argument("name")
@config_option
def unsuspend(name: str, config_path: Path | None) -> None:
    """Let the account NAME write and join again."""

    _set_standing(
        name,
        config_path,
        "unsuspended",
        lambda wiring, user_id: wiring.standing.set_suspended(user_id, False, by=COMMAND_LINE),
    )
