"""``comity media``: the keys with which files are encrypted on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load, with_database
from homeserver.config_storage import S3

if TYPE_CHECKING:
    from collections import Counter

    from homeserver.config import Config
    from homeserver.services.sealing.keys import KeyFile
    from homeserver.services.sealing.rotation import Resealing
    from homeserver.storage.database import Database


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


def _count(config: Config) -> Counter[bytes | None]:
    """How many files need each key: on this machine, and in the bucket."""
    from homeserver.services.sealing.rotation import count_by_key
    from homeserver.wiring.media_storage import media_store

    counts = count_by_key(config.media.directory)
    store = media_store(config, copies=False)
    if config.media.storage == S3:
        from homeserver.services.media_stores import StorageUnavailable
        from homeserver.services.object_storage import rotation
        from homeserver.services.object_storage.store import BucketStore

        assert isinstance(store, BucketStore)
        try:
            counts += rotation.count_by_key(store)
        except StorageUnavailable as error:
            raise click.ClickException(
                f"{store.bucket.where} cannot be read: {error.reason}"
            ) from None
    return counts


@click.command("keys")
@config_option
def list_keys(config_path: Path | None) -> None:
    """Show the keys of media, and how many files need each."""
    config = load(config_path)
    keys = _keys(config)
    counts = _count(config)
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
    from homeserver.services.media_stores import StorageUnavailable

    config = load(config_path)
    keys = _keys(config)

    async def work(database: Database) -> list[Resealing]:
        works = _resealings(config, keys, database)
        for each in works:
            await each.run()
        return works

    try:
        done = with_database(config, work)
    except StorageUnavailable as error:
        raise click.ClickException(
            f"the bucket cannot be used: {error.reason}; start this again to go on"
        ) from None
    number = sum(each.done for each in done)
    click.echo(f"encrypted {number} files with {keys.newest().key_id.hex()}")
    for name in [name for each in done for name in each.damaged]:
        click.echo(f"cannot be read, and is left as it is: {name}")


def _resealings(config: Config, keys: KeyFile, database: Database) -> list[Resealing]:
    """What does it: on this machine, and in the bucket, if there is one."""
    from homeserver.services.media_files import MediaFiles
    from homeserver.services.sealing.rotation import Resealing
    from homeserver.wiring.media_storage import command_strays, media_store

    root, store = config.media.directory, media_store(config, copies=False)
    files = MediaFiles(root, keys, seal=True, store=store)
    strays = command_strays(database, files)
    local = Resealing(MediaFiles(root, keys, seal=True), strays, database)
    if config.media.storage != S3:
        return [local]
    from homeserver.services.object_storage.rotation import BucketResealing
    from homeserver.services.object_storage.store import BucketStore

    assert isinstance(store, BucketStore)
    return [local, BucketResealing(files, store, strays, database)]


@click.command("drop-key")
@click.argument("key_id")
@config_option
def drop_key(key_id: str, config_path: Path | None) -> None:
    """Take a key out that no file needs any more."""
    config = load(config_path)
    keys = _keys(config)
    found = next((key for key in keys.all() if key.key_id.hex() == key_id), None)
    if found is None:
        raise click.ClickException("There is no such key; 'comity media keys' shows them")
    if found == keys.newest():
        raise click.ClickException("This key encrypts what comes in; make a new one first")
    number = _count(config)[found.key_id]
    if number:
        raise click.ClickException(
            f"{number} files need it; 'comity media reencrypt' frees it, and unfinished uploads "
            "end by themselves"
        )
    keys.drop(found.key_id)
    click.echo(f"dropped {key_id}; it is still in older backups")
