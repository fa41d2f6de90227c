"""``comity media limits``: how much a user may upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.cli.user_admin import user_path

NONE, CONFIGURED = "none", "configured"
NAMES = ("quota_bytes", "max_files", "max_upload_bytes")
HELP = "A number, 'none', or 'configured'."


@click.command()
@click.argument("name")
@click.option("--quota-bytes", help=f"Bytes of all files together. {HELP}")
@click.option("--max-files", help=f"How many files. {HELP}")
@click.option("--max-upload-bytes", help="The largest file. A number, or 'configured'.")
@config_option
def limits(
    name: str,
    quota_bytes: str | None,
    max_files: str | None,
    max_upload_bytes: str | None,
    config_path: Path | None,
) -> None:
    """Show how much the user NAME may upload, or change it; needs the running server."""
    config = load(config_path)
    path = f"{user_path(config, name)}/media/limits"
    found = ask(config, "GET", path)
    changes = dict(zip(NAMES, (quota_bytes, max_files, max_upload_bytes), strict=True))
    if any(text is not None for text in changes.values()):
        found = ask(config, "PUT", path, _changed(found["own"], changes))
    click.echo(f"files: {found['files']} of {_limit(found['max_files'])}")
    click.echo(f"bytes: {found['bytes']} of {_limit(found['quota_bytes'])}")
    click.echo(f"largest file: {found['max_upload_bytes']} bytes")
    click.echo(f"their own: {', '.join(sorted(found['own'])) or NONE}")


def _changed(own: dict[str, Any], changes: dict[str, str | None]) -> dict[str, Any]:
    own = dict(own)
    for name, text in changes.items():
        if text is None:
            continue
        if text == CONFIGURED:
            own.pop(name, None)
        elif text == NONE and name != "max_upload_bytes":
            own[name] = None
        elif text.isascii() and text.isdigit():
            own[name] = int(text)
        else:
            raise click.ClickException(f"--{name.replace('_', '-')}: '{text}' is no such limit")
    return own


def _limit(limit: int | None) -> str:
    return "any number" if limit is None else str(limit)
