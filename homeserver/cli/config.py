"""``comity config``: check a configuration without running it."""

from __future__ import annotations

from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@config_option
def check(config_path: Path | None) -> None:
    """Say whether the configuration can be used, and if not, each key that is wrong."""
    loaded = load(config_path)
    click.echo(f"the configuration of {loaded.server_name} is good")
