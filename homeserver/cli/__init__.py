"""``comity ...``: the command line.  Its help text is its documentation."""

from __future__ import annotations

import os
from keyword import iskeyword
from pathlib import Path
from typing import ClassVar

import click

DATA_DIR_VARIABLE = "COMITY_DATA_DIR"
CONFIG_NAME = "comity.yaml"


def default_config_path() -> Path:
    """The data directory's own configuration file."""
    return Path(os.environ.get(DATA_DIR_VARIABLE, "data")) / CONFIG_NAME


class LazyGroup(click.Group):
    """Imports a command's module only when the command is used, so that each starts quickly."""

    modules: ClassVar[dict[str, str]] = {
        "application": "homeserver.cli.application",
        "appservice": "homeserver.cli.appservice",
        "audit": "homeserver.cli.server",
        "backup": "homeserver.cli.backup",
        "config": "homeserver.cli.config",
        "consent": "homeserver.cli.consent",
        "demo": "homeserver.cli.demo",
        "doctor": "homeserver.cli.doctor",
        "federation": "homeserver.cli.federation",
        "job": "homeserver.cli.room",
        "keys": "homeserver.cli.keys",
        "media": "homeserver.cli.media",
        "notice": "homeserver.cli.notice",
        "policy": "homeserver.cli.policy",
        "policy-server": "homeserver.cli.policy_server",
        "registration-token": "homeserver.cli.registration_token",
        "report": "homeserver.cli.report",
        "restore": "homeserver.cli.backup",
        "room": "homeserver.cli.room",
        "statistics": "homeserver.cli.server",
        "up": "homeserver.cli.up",
        "user": "homeserver.cli.user",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names."""
        return sorted(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, its module imported now."""
        if cmd_name not in self.modules:
            return None
        from importlib import import_module

        module = import_module(self.modules[cmd_name])
        attribute = cmd_name.replace("-", "_") + ("_" if iskeyword(cmd_name) else "")
        command: click.Command = getattr(module, attribute)
        return command


@click.command(cls=LazyGroup)
@click.version_option(package_name="comity")
def main() -> None:
    """Comity: a federated homeserver that asks before it delivers."""


def config_option(function: click.decorators.FC) -> click.decorators.FC:
    """``--config FILE``, for the commands that need one."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The configuration file; by default comity.yaml in the data directory "
        f"(./data, or ${DATA_DIR_VARIABLE}).",
    )(function)
