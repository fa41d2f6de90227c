"""Which instances this one deals with at all: the configuration's lists, and what is blocked."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import InvalidIdentifier, parse_server_name
from homeserver.services.server_blocks import ServerBlocks


class ServerRules:
    """Globs over server names.  Denied wins; without an allow list everyone else may come in.

    A pattern is matched against the name with and without its port, so that no port gets around a
    denial.  ``blocks``: what is blocked while the server runs.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        blocks: ServerBlocks | None = None,
    ) -> None:
        self._allow = _compiled(allow) if allow is not None else None
        self._deny = _compiled(deny)
        self._blocks = blocks

    def allows(self, server_name: str) -> bool:
        """Whether anything is sent to, or taken from, this instance."""
        if self._blocks is not None and self._blocks.is_blocked(server_name) is not None:
            return False
        return self._configured(server_name)

    def refusal(self, server_name: str) -> str:
        """Why an instance is not allowed, for our own users to read."""
        block = self._blocks.is_blocked(server_name) if self._blocks is not None else None
        if block is None:
            return "this server's admin does not allow it"
        return f"it is blocked here: {block.reason or 'no reason was given'}"

    def _configured(self, server_name: str) -> bool:
        names = {server_name}
        try:
            names.add(parse_server_name(server_name).host)
        except InvalidIdentifier:
            return False
        if _any_match(self._deny, names):
            return False
        if self._allow is None or _any_match(self._allow, names):
            return True
        return self._blocks is not None and self._blocks.is_admitted(server_name)


def _compiled(globs: Sequence[str]) -> list[re.Pattern[str]]:
    return [glob_to_regex(glob, ignore_case=True) for glob in globs]


def _any_match(patterns: Sequence[re.Pattern[str]], names: Collection[str]) -> bool:
    return any(pattern.match(name) for pattern in patterns for name in names)
