"""``comity appservice``: bridges and bots that are registered by files."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

import click
import yaml

from homeserver.cli import config_option
from homeserver.cli.loading import load

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
