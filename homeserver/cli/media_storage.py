"""``comity media migrate``: files of this machine go into the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load, with_database

if TYPE_CHECKING:
    from homeserver.services.object_storage.moving import Moving
    from homeserver.storage.database import Database

TELL_EVERY = 100


@click.command()
@config_option
def migrate(config_path: Path | None) -> None:
    """Move files that lie in data_dir into the bucket of media.s3.

    First set media.storage to s3 and restart the server: it reads files where they are, and may run
    meanwhile. If this is interrupted, start it again: it goes on where it stopped.
    """
    from homeserver.services.media_files import MediaFiles
    from homeserver.services.media_stores import StorageUnavailable
    from homeserver.services.object_storage.moving import Moving
    from homeserver.services.object_storage.store import BucketStore
    from homeserver.wiring.media_storage import command_strays, media_store

    config = load(config_path)
    root = config.media.directory
    store = media_store(config, copies=False)
    if not isinstance(store, BucketStore):
        raise click.ClickException("media.storage is local: there is no bucket to move files to")

    async def work(database: Database) -> Moving:
        def tell(place: Path) -> None:
            if moving.moved % TELL_EVERY == 0:
                click.echo(f"{moving.moved} files, {moving.moved_bytes} bytes")

        strays = command_strays(database, MediaFiles(root, store=store))
        moving = Moving(store=store, database=database, strays=strays, tell=tell)
        await moving.run()
        return moving

    try:
        store.check()
        done = with_database(config, work)
    except StorageUnavailable as error:
        raise click.ClickException(
            f"{store.bucket.where} cannot be used: {error.reason}. What was moved is there; "
            "start this again to go on"
        ) from None
    click.echo(f"moved {done.moved} files, {done.moved_bytes} bytes, to {store.bucket.where}")
    if done.left:
        click.echo(f"{len(done.left)} files belong to no medium and stay where they are, such as")
        click.echo(f"  {done.left[0]}")
