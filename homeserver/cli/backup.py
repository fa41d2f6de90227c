"""``comity backup`` and ``comity restore``: everything in one archive."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from homeserver.cli import config_option, default_config_path
from homeserver.cli.loading import load, with_database
from homeserver.config import Config
from homeserver.config_storage import S3
from homeserver.storage import snapshot
from homeserver.storage.database import Database

TABLES = "tables/"
SEQUENCES = "sequences.json"
CONFIG = "comity.yaml"
KEY = "signing.key"
POLICY_KEY = "policy_server.key"
MEDIA_KEYS = "media.keys"
MEDIA = "media/"


@click.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
@config_option
def backup(archive: Path, config_path: Path | None) -> None:
    """Write the database, media and its keys, signing keys and configuration to ARCHIVE (.tar.gz).

    The server may run meanwhile: the archive holds what was so at the moment the command began.
    It holds secrets: keep it as safe as the server.
    """
    config = load(config_path)
    partial = archive.with_name(archive.name + ".partial")
    partial.touch(mode=0o600)

    async def work(database: Database) -> None:
        with tarfile.open(partial, "w:gz", compresslevel=3) as tar:
            async for part in snapshot.dump(database):
                if isinstance(part, snapshot.TableDump):
                    _add(tar, TABLES + part.name, part.data)
                else:
                    _add(tar, SEQUENCES, json.dumps(part).encode())
            _add(tar, KEY, config.signing_key_file.read_bytes())
            if (config.data_dir / POLICY_KEY).exists():
                _add(tar, POLICY_KEY, (config.data_dir / POLICY_KEY).read_bytes())
            _add(tar, CONFIG, (config_path or default_config_path()).read_bytes())
            _add_media(tar, config)
            # After the files: each key that one of them needs is there by now.
            if config.media.encryption_key_file.exists():
                _add(tar, MEDIA_KEYS, config.media.encryption_key_file.read_bytes())

    with_database(config, work)
    partial.rename(archive)
    click.echo(f"wrote {archive}, {archive.stat().st_size} bytes")
    if config.media.storage == S3:
        click.echo(f"media in the bucket {config.media.s3.bucket} is not in it: back that up too")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), int(time.time()), 0o600
    tar.addfile(info, io.BytesIO(data))


def _add_media(tar: tarfile.TarFile, config: Config) -> None:
    root = config.media.directory
    for path in sorted(root.rglob("*")) if root.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # on its way in, or just deleted
            if path.is_file():
                tar.add(path, MEDIA + str(path.relative_to(root)), recursive=False)


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
def restore(archive: Path, config_path: Path | None) -> None:
    """Bring back what ARCHIVE holds, into a data directory and database without accounts.

    The server must not run. One-time keys that may have been handed out since the backup are void
    afterwards, so that no encrypted session breaks; clients upload new ones by themselves.
    """
    path = config_path or default_config_path()
    with tarfile.open(archive, "r:gz") as tar:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_read(tar, CONFIG))
            click.echo(f"wrote {path}")
        config = load(path)
        with_database(config, _Restore(tar).run)
        _write_secret(config.signing_key_file, _read(tar, KEY))
        if POLICY_KEY in tar.getnames():
            _write_secret(config.data_dir / POLICY_KEY, _read(tar, POLICY_KEY))
        if MEDIA_KEYS in tar.getnames():
            _write_secret(config.media.encryption_key_file, _read(tar, MEDIA_KEYS))
        count = _restore_media(tar, config)
    click.echo(f"restored the database, the signing key and {count} media files")


def _write_secret(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise click.ClickException(f"The archive has no {name}")
    return file.read()


class _Restore:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    async def run(self, database: Database) -> None:
        """Load the tables, if there is nothing that they would replace."""
        if not await snapshot.is_empty(database):
            raise click.ClickException(
                "There are accounts in this database already: restore into an empty one"
            )
        tables = {
            name.removeprefix(TABLES): _read(self._tar, name)
            for name in self._tar.getnames()
            if name.startswith(TABLES)
        }
        sequences: dict[str, int] = json.loads(_read(self._tar, SEQUENCES))
        await snapshot.load(database, tables, sequences)


def _restore_media(tar: tarfile.TarFile, config: Config) -> int:
    root = config.media.directory
    count = 0
    for member in _media_members(tar):
        target = (root / member.name.removeprefix(MEDIA)).resolve()
        if not target.is_relative_to(root.resolve()):
            raise click.ClickException(f"The archive has a file outside of media: {member.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_read(tar, member.name))
        count += 1
    return count


def _media_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar.getmembers():
        if member.name.startswith(MEDIA) and member.isfile():
            yield member
