"""Which instances this one deals with at all: the admin's allow and deny lists."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import InvalidIdentifier, parse_server_name


class ServerRules:
    """Globs over server names.  Denied wins; an empty allow list lets everyone else in.

    A pattern is matched against the name with and without its port, so that no port gets around a
    denial.
    """

    def __init__(self, *, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        self._allow = [glob_to_regex(pattern, ignore_case=True) for pattern in allow]
        self._deny = [glob_to_regex(pattern, ignore_case=True) for pattern in deny]

    def allows(self, server_name: str) -> bool:
        """Whether anything is sent to, or taken from, this instance."""
        names = {server_name}
        try:
            names.add(parse_server_name(server_name).host)
        except InvalidIdentifier:
            return False
        if any(pattern.match(name) for pattern in self._deny for name in names):
            return False
        return not self._allow or any(
            pattern.match(name) for pattern in self._allow for name in names
        )
