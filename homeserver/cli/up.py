"""``comity up``: run the server; the first time, prepare everything it needs."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

import click

from homeserver.cli import config_option, default_config_path
from homeserver.cli.loading import load
from homeserver.config import Config

FIRST_CONFIG = """\
# Comity's configuration. Every key is explained in config.sample.yaml.
# The name after the colon in user IDs. Other servers find this one by it, so it must be a name
# that leads here; it cannot be changed once there are accounts.
server_name: {server_name}
# Where media, keys and the embedded PostgreSQL lie: this file's own directory.
data_dir: .
listen:
  client: 127.0.0.1:8008
  federation: 127.0.0.1:8448
registration:
  mode: closed  # closed, token or open
log:
  format: console  # json in production
"""


@click.command()
@config_option
def up(config_path: Path | None) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Without --config it uses comity.yaml in the data directory, and writes one if there is none.
    A signing key is made where there is none. It prints a line with "ready" once it answers.
    """
    if config_path is None:
        config_path = default_config_path()
        prepare_config(config_path)
    config = load(config_path)
    prepare_signing_key(config)
    run(config, config_path)


def prepare_config(path: Path) -> None:
    """Write a first configuration where there is none."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    server_name = os.environ.get("COMITY_SERVER_NAME", "localhost:8448")
    path.write_text(FIRST_CONFIG.format(server_name=server_name))
    click.echo(f"wrote {path}: edit server_name before you make accounts")


def prepare_signing_key(config: Config) -> None:
    """Make a signing key where there is none."""
    from homeserver.protocol.signing import format_signing_key, generate_signing_key

    path = config.signing_key_file
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    key = generate_signing_key(secrets.token_bytes(32), f"a_{secrets.token_hex(3)}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(format_signing_key(key))
    click.echo(f"wrote {path}: keep it secret, and keep a copy")


def run(config: Config, config_path: Path) -> None:
    """Serve until a signal ends it."""
    import uvloop

    from homeserver.app import serve
    from homeserver.logging import configure
    from homeserver.storage.embedded import EmbeddedError
    from homeserver.storage.migrations import MigrationError

    configure(config.log.format, config.log.level)

    def ready(line: str) -> None:
        click.echo(
            f"server name      {config.server_name}\n"
            f"for clients      {config.public_base_url}\n"
            f"for servers      {config.listen.federation}\n"
            f"first account    comity user add alice --admin --config {config_path}\n"
            f"stop             Ctrl-C\n"
            f"{line}"
        )

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, ready=ready))
    except (EmbeddedError, MigrationError, OSError, ValueError) as error:
        raise click.ClickException(f"The server cannot start: {error}") from error
