"""What most commands begin with: the configuration, and the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from homeserver.cli import default_config_path
from homeserver.config import Config, ConfigError, load_config

T = TypeVar("T")


def load(config_path: Path | None) -> Config:
    """The configuration, or an end with its problems in plain words."""
    path = config_path or default_config_path()
    if not path.exists():
        raise click.ClickException(
            f"There is no configuration at {path}. 'comity up' writes one; or name yours with "
            "--config FILE."
        )
    try:
        config = load_config(path)
        check_rules(config)
    except ConfigError as error:
        problems = "\n  ".join(error.problems)
        raise click.ClickException(
            f"The configuration {path} cannot be used:\n  {problems}"
        ) from None
    return config


def check_rules(config: Config) -> None:
    """Compile content policy's rules and checks, read registrations.  Raises ConfigError."""
    if config.policy.rules:
        from homeserver.services.policy.rules import compile_rules

        compile_rules(config.policy.rules, config.base)
    if config.policy.checks:
        from homeserver.services.external_checks.matching import compile_checks

        compile_checks(config.policy, config.base)
    if config.app_services:
        from homeserver.services.appservices.registration import load_registrations

        load_registrations(config.app_services, config.base, config.server_name)


def with_database(config: Config, work: Callable[..., Awaitable[T]]) -> T:
    """Run ``work(database)``; uses the running server's database, or starts it for a moment."""
    from homeserver.app import open_database
    from homeserver.logging import configure
    from homeserver.storage.embedded import EmbeddedPostgres

    configure("console", "warning")

    async def run() -> T:
        embedded = EmbeddedPostgres(config.data_dir / "postgres")
        if config.database.dsn is None and embedded.running_pid() is not None:
            from homeserver.storage.database import Database

            database = await Database.connect(embedded.dsn, min_size=1, max_size=2)
            try:
                return await work(database)
            finally:
                await database.close()
        async with open_database(config) as database:
            return await work(database)

    return asyncio.run(run())
