"""``comity policy``: who and what this server deals with."""

from __future__ import annotations

from typing import ClassVar

import click

from homeserver.cli import LazyGroup


class PolicyCommands(LazyGroup):
    """The commands of ``comity policy``."""

    modules: ClassVar[dict[str, str]] = {
        "acl": "homeserver.cli.policy_acl",
        "block": "homeserver.cli.policy_blocks",
        "blocks": "homeserver.cli.policy_blocks",
        "export": "homeserver.cli.policy_lists",
        "import": "homeserver.cli.policy_lists",
        "lists": "homeserver.cli.policy_lists",
        "queue": "homeserver.cli.policy_queue",
        "serve": "homeserver.cli.policy_queue",
        "stripped": "homeserver.cli.policy_queue",
        "reload": "homeserver.cli.policy_rules",
        "rules": "homeserver.cli.policy_rules",
        "test": "homeserver.cli.policy_dry_run",
        "unblock": "homeserver.cli.policy_blocks",
    }


@click.group(cls=PolicyCommands)
def policy() -> None:
    """Rules, lists, and blocked servers."""
