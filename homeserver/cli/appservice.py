"""``comity appservice``: bridges and bots that are registered by files."""

from __future__ import annotations

import os
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import yaml

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.cli.tables import table

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@click.group()
def appservice() -> None:
    """Register application services (bridges, bots), and see how they fare."""


@appservice.command()
@click.argument("name")
@click.option("--url", help="Where it is told what happens; by default it is told nothing.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; by default NAME.yaml beside the configuration.",
)
@config_option
def new(name: str, url: str | None, output: Path | None, config_path: Path | None) -> None:
    """Write a registration file for NAME, with tokens of its own.

    Its users are @_NAME_..., its aliases #_NAME_..., its bot @_NAME_bot; edit the file as you need.
    """
    if not NAME.fullmatch(name):
        raise click.ClickException("A NAME has small letters, digits, and . _ - only")
    config = load(config_path)
    path = output or config.base / f"{name}.yaml"
    document = _registration(name, url, config.server_name)
    text = yaml.safe_dump(document, sort_keys=False, width=100)
    try:
        # nobody else may read the tokens
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already: it is not replaced") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(
        f"wrote {path}\n"
        f"Add it to the configuration, then restart the server:\n"
        f"  app_services:\n"
        f"    - {path}"
    )


def _registration(name: str, url: str | None, server_name: str) -> dict[str, Any]:
    name_pattern, server_pattern = re.escape(name), re.escape(server_name)
    users = f"@_{name_pattern}_.*:{server_pattern}"
    aliases = f"#_{name_pattern}_.*:{server_pattern}"
    return {
        "id": name,
        "url": url,
        "as_token": secrets.token_hex(32),
        "hs_token": secrets.token_hex(32),
        "sender_localpart": f"_{name}_bot",
        "namespaces": {
            "users": [{"exclusive": True, "regex": users}],
            "aliases": [{"exclusive": True, "regex": aliases}],
            "rooms": [],
        },
        "rate_limited": False,
        "receive_ephemeral": False,
        "protocols": [],
    }


@appservice.command("list")
@config_option
def list_services(config_path: Path | None) -> None:
    """Show all application services of the running server, and how they fare."""
    found = ask(load(config_path), "GET", "/app_services")["app_services"]
    if not found:
        click.echo("there are none: name their registration files in 'app_services'")
        return
    rows = [
        (each["id"], each["sender"], each["url"] or "-", *_delivery(each.get("delivery")))
        for each in found
    ]
    click.echo(table(("ID", "SENDER", "URL", "ACCEPTED", "LAG", "STATE"), rows))


def _delivery(delivery: dict[str, Any] | None) -> tuple[str, str, str]:
    if delivery is None:
        return ("-", "-", "is told nothing")
    state = "good"
    if delivery["failing_since"] is not None:
        since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(delivery["failing_since"] / 1000))
        state = f"fails since {since} UTC: {delivery['last_error']}"
    return (str(delivery["accepted"]), str(delivery["lag"]), state)


@appservice.command()
@click.argument("appservice_id", metavar="ID")
@config_option
def ping(appservice_id: str, config_path: Path | None) -> None:
    """Ask the running server whether it reaches ID; what waits for it is sent again at once."""
    path = f"/app_services/{quote(appservice_id, safe='')}/ping"
    answer = ask(load(config_path), "POST", path)
    click.echo(f"{appservice_id} answered in {answer['duration_ms']} ms")


@appservice.command()
@click.argument("appservice_id", metavar="ID")
@config_option
def skip(appservice_id: str, config_path: Path | None) -> None:
    """Have the running server leave out all that waits for ID; nothing of it is told later."""
    ask(load(config_path), "POST", f"/app_services/{quote(appservice_id, safe='')}/skip")
    click.echo(f"{appservice_id} is told what happens from now on")
