"""``comity application``: programs that may act for users of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.cli.tables import table

PATH = "/applications"


def _path(*parts: str) -> str:
    return "/".join((PATH, *(quote(part, safe="") for part in parts)))


@click.group()
def application() -> None:
    """Make, list and delete applications, and their API tokens."""


@application.command()
@click.argument("name")
@click.option(
    "--users",
    "patterns",
    multiple=True,
    help="The user names that are its users', with * and ?: shop_*. May be repeated.",
)
@click.option("--scope", "scopes", multiple=True, help="What its tokens may be good for; all.")
@click.option("--create-users", is_flag=True, help="It may make accounts, on first sight too.")
@click.option("--bot", help="The name of an account to be made, which acts where none is named.")
@config_option
def create(
    name: str,
    patterns: tuple[str, ...],
    scopes: tuple[str, ...],
    create_users: bool,
    bot: str | None,
    config_path: Path | None,
) -> None:
    """Make an application, and print its ID.

    Nobody else can register a name that matches its patterns any more.
    """
    body: dict[str, Any] = {
        "name": name,
        "user_patterns": list(patterns),
        "may_create_users": create_users,
    }
    if scopes:
        body["scopes"] = list(scopes)
    if bot is not None:
        body["bot"] = bot
    click.echo(ask(load(config_path), "POST", PATH, body)["id"])


@application.command("list")
@config_option
def list_applications(config_path: Path | None) -> None:
    """Show all applications."""
    found = ask(load(config_path), "GET", PATH)["applications"]
    if not found:
        click.echo("There are no applications.")
        return
    rows = [
        [
            each["id"],
            each["name"],
            " ".join(each["user_patterns"]) or "-",
            "yes" if each["may_create_users"] else "no",
            each["bot"] or "-",
        ]
        for each in found
    ]
    click.echo(table(["ID", "NAME", "USERS", "MAKES USERS", "BOT"], rows))


@application.command()
@click.argument("application_id")
@config_option
def show(application_id: str, config_path: Path | None) -> None:
    """Show APPLICATION_ID and its tokens."""
    found = ask(load(config_path), "GET", _path(application_id))
    facts = [
        ["name", found["name"]],
        ["users", " ".join(found["user_patterns"]) or "those it makes"],
        ["makes users", "yes" if found["may_create_users"] else "no"],
        ["bot", found["bot"] or "-"],
        ["scopes", " ".join(found["scopes"])],
        ["made", f"{found['created_at']} by {found['created_by']}"],
    ]
    click.echo(table(["ID", found["id"]], facts))
    if found["tokens"]:
        click.echo()
        click.echo(_tokens(found["tokens"]))


def _tokens(tokens: list[dict[str, Any]]) -> str:
    rows = [
        [
            each["id"],
            f"{each['prefix']}...",
            each["name"],
            each["expires_at"] or "never",
            each["last_used_at"] or "never",
            " ".join(each["scopes"]),
        ]
        for each in tokens
    ]
    return table(["TOKEN", "BEGINS", "NAME", "EXPIRES", "LAST USED", "SCOPES"], rows)


@application.command()
@click.argument("application_id")
@click.confirmation_option(prompt="Its tokens and webhooks stop working at once. Delete it?")
@config_option
def delete(application_id: str, config_path: Path | None) -> None:
    """Delete APPLICATION_ID, its tokens and webhooks; its users' accounts stay."""
    ask(load(config_path), "DELETE", _path(application_id))
    click.echo("deleted")


@application.group()
def token() -> None:
    """Make, list and revoke an application's API tokens."""


@token.command("create")
@click.argument("application_id")
@click.option("--name", default="token", show_default=True, help="What it is for.")
@click.option("--scope", "scopes", multiple=True, help="What it is good for; all that it may be.")
@click.option("--days", type=click.IntRange(min=1), help="How many days it is good for.")
@config_option
def create_token(
    application_id: str,
    name: str,
    scopes: tuple[str, ...],
    days: int | None,
    config_path: Path | None,
) -> None:
    """Make a token of APPLICATION_ID, and print it: it is shown this once."""
    body: dict[str, Any] = {"name": name, "scopes": list(scopes)}
    if days is not None:
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    click.echo(ask(load(config_path), "POST", _path(application_id, "tokens"), body)["token"])


@token.command("list")
@click.argument("application_id")
@config_option
def list_tokens(application_id: str, config_path: Path | None) -> None:
    """Show the tokens of APPLICATION_ID: when each was last used, and until when it is good."""
    tokens = ask(load(config_path), "GET", _path(application_id))["tokens"]
    click.echo(_tokens(tokens) if tokens else "It has no tokens.")


@token.command("revoke")
@click.argument("application_id")
@click.argument("token_id")
@config_option
def revoke_token(application_id: str, token_id: str, config_path: Path | None) -> None:
    """Make TOKEN_ID of APPLICATION_ID void, at once."""
    ask(load(config_path), "DELETE", _path(application_id, "tokens", token_id))
    click.echo("revoked")
