"""``comity federation``: other servers; needs the running server."""

from __future__ import annotations

from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all, part
from homeserver.cli.loading import load
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time

PATH = "/federation/destinations"


@click.group()
def federation() -> None:
    """See how sending to other servers goes, and try again; needs the running server."""


@federation.command("list")
@click.argument("text", required=False)
@click.option("--failing", is_flag=True, default=None, help="Only those that do not answer.")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@config_option
def list_destinations(
    text: str | None, failing: bool | None, most: int, config_path: Path | None
) -> None:
    """Show servers with TEXT in their name."""
    query = {"search": text, "failing": failing}
    rows = [
        (
            one["server_name"],
            shown_time(one["last_success_at"]),
            shown_time(one["failing_since"]),
            shown_time(one["retry_at"]),
            str(one["waiting_events"]),
        )
        for one in ask_for_all(load(config_path), PATH, query, most)
    ]
    click.echo(table(("server", "last success", "failing since", "next try", "waiting"), rows))


@federation.command()
@click.argument("server")
@config_option
def retry(server: str, config_path: Path | None) -> None:
    """Try SERVER at once."""
    ask(load(config_path), "POST", f"{PATH}/{part(server)}/retry")
    click.echo("being tried")


@federation.command()
@click.argument("server")
@config_option
def reset(server: str, config_path: Path | None) -> None:
    """Forget that SERVER failed, and try it at once."""
    ask(load(config_path), "POST", f"{PATH}/{part(server)}/reset")
    click.echo("reset")
