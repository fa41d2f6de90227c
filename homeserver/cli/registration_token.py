"""``comity registration-token``: who may register where ``registration.mode`` is ``token``."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.loading import load, with_database
from homeserver.storage import registration_tokens as storage
from homeserver.storage.database import Database


@click.group()
def registration_token() -> None:
    """Make, list and revoke tokens that let people register."""


@registration_token.command()
@click.option("--uses", type=click.IntRange(min=1), help="How often it may be used.")
@click.option("--days", type=click.IntRange(min=1), help="How many days it is good for.")
@click.option("--token", help="The token itself; by default an unguessable one is made.")
@config_option
def create(uses: int | None, days: int | None, token: str | None, config_path: Path | None) -> None:
    """Make a token and print it."""
    text = token or secrets.token_urlsafe(12)
    now = time.time_ns() // 1_000_000

    async def work(database: Database) -> bool:
        return await storage.insert_token(
            database,
            text,
            created_at=now,
            uses_allowed=uses,
            expires_at=now + days * 86_400_000 if days is not None else None,
        )

    if not with_database(load(config_path), work):
        raise click.ClickException("There is a token of that name already")
    click.echo(text)


@registration_token.command("list")
@config_option
def list_tokens(config_path: Path | None) -> None:
    """Show all tokens, how often each was used, and until when it is good."""
    for token in with_database(load(config_path), storage.get_tokens):
        uses = "any" if token.uses_allowed is None else str(token.uses_allowed)
        line = f"{token.token} used {token.uses_completed} of {uses}"
        if token.expires_at is not None:
            until = time.strftime("%Y-%m-%d", time.gmtime(token.expires_at / 1000))
            line += f", until {until}"
        click.echo(line)


@registration_token.command()
@click.argument("token")
@config_option
def revoke(token: str, config_path: Path | None) -> None:
    """Make TOKEN useless; accounts that were made with it stay."""

    async def work(database: Database) -> bool:
        return await storage.delete_token(database, token)

    if not with_database(load(config_path), work):
        raise click.ClickException("There is no such token")
    click.echo("revoked")


@registration_token.command()
@click.argument("token")
@click.option("--uses", type=click.IntRange(min=0), help="How often it may be used; else any.")
@click.option("--days", type=click.IntRange(min=0), help="How long from now; else for ever.")
@config_option
def change(token: str, uses: int | None, days: int | None, config_path: Path | None) -> None:
    """Set how often, and until when, TOKEN is good."""
    now = time.time_ns() // 1_000_000

    async def work(database: Database) -> bool:
        expires_at = now + days * 86_400_000 if days is not None else None
        return await storage.set_limits(database, token, uses_allowed=uses, expires_at=expires_at)

    if not with_database(load(config_path), work):
        raise click.ClickException("There is no such token")
    click.echo("changed")
