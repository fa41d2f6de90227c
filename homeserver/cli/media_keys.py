"""``comity media``: the keys with which files are encrypted on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load, with_database

if TYPE_CHECKING:
    from homeserver.config import Config
    from homeserver.services.sealing.keys import KeyFile
    from homeserver.storage.database import Database


def _root(config: Config) -> Path:
    return config.data_dir / "media"


def _keys(config: Config) -> KeyFile:
    from homeserver.services.sealing.keys import KeyFile

    keys = KeyFile(config.media.encryption_key_file)
    try:
        keys.all()
    except FileNotFoundError:
        raise click.ClickException(
            f"There is no {keys.path}: the server makes it when it starts"
        ) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    return keys


@click.command("keys")
@config_option
def list_keys(config_path: Path | None) -> None:
    """Show the keys of media, and how many files on disk need each."""
    from homeserver.services.sealing.rotation import count_by_key

    config = load(config_path)
    keys = _keys(config)
    counts = count_by_key(_root(config))
    for key in keys.all():
        newest = "  encrypts what comes in" if key == keys.newest() else ""
        click.echo(f"{key.key_id.hex()}  {counts.pop(key.key_id, 0)} files{newest}")
    click.echo(f"not encrypted     {counts.pop(None, 0)} files")
    for key_id, number in counts.items():
        click.echo(f"{key_id.hex() if key_id else ''}  {number} files; THIS KEY IS MISSING")


@click.command("new-key")
@config_option
def new_key(config_path: Path | None) -> None:
    """Make a new key, which from now on encrypts what comes in; the old ones still open."""
    from homeserver.services.sealing.keys import KeyFile

    config = load(config_path)
    path = config.media.encryption_key_file
    keys = KeyFile(path)
    if not keys.prepare():
        keys = _keys(config)
        keys.add()
    newest = keys.newest().key_id.hex()
    click.echo(f"{newest} encrypts from now on; 'comity media reencrypt' does what is there")


@click.command()
@config_option
def reencrypt(config_path: Path | None) -> None:
    """Encrypt with the newest key what is not; the server may run meanwhile."""
    from homeserver.services.sealing.rotation import Resealing

    config = load(config_path)
    keys = _keys(config)

    async def work(database: Database) -> Resealing:
        resealing = Resealing(_root(config), keys, database)
        await resealing.run()
        return resealing

    done = with_database(config, work)
    click.echo(f"encrypted {done.done} files with {keys.newest().key_id.hex()}")
    for name in done.damaged:
        click.echo(f"cannot be read, and is left as it is: {name}")


@click.command("drop-key")
@click.argument("key_id")
@config_option
def drop_key(key_id: str, config_path: Path | None) -> None:
    """Take a key out that no file on disk needs any more."""
    from homeserver.services.sealing.rotation import count_by_key

    config = load(config_path)
    keys = _keys(config)
    found = next((key for key in keys.all() if key.key_id.hex() == key_id), None)
    if found is None:
        raise click.ClickException("There is no such key; 'comity media keys' shows them")
    if found == keys.newest():
        raise click.ClickException("This key encrypts what comes in; make a new one first")
    number = count_by_key(_root(config))[found.key_id]
    if number:
        raise click.ClickException(
            f"{number} files need it; 'comity media reencrypt' frees it, and unfinished uploads "
            "end by themselves"
        )
    keys.drop(found.key_id)
    click.echo(f"dropped {key_id}; it is still in older backups")
