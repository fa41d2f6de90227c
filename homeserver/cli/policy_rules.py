"""``comity policy rules``, ``reload``: the rules of the running server."""

from __future__ import annotations

from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.cli.tables import table


@click.command()
@config_option
def reload(config_path: Path | None) -> None:
    """Have the running server read the rules of its configuration file again.

    If the file cannot be used, it says why, and the rules stay as they were. SIGHUP does the same.
    """
    answer = ask(load(config_path), "POST", "/policy/reload")
    click.echo(f"{answer['rules']} rules are in force")


@click.command()
@config_option
def rules(config_path: Path | None) -> None:
    """Show the running server's rules, and how often each matched since it started."""
    answer = ask(load(config_path), "GET", "/policy/rules")
    rows = [
        (rule["name"], rule["mode"], rule["action"], str(rule["matched"]))
        for rule in answer["rules"]
    ]
    click.echo(table(("rule", "mode", "action", "matched"), rows))
