"""The lists in effect, so filed that an event is judged by them at once.

Nothing here knows where the entries come from; a new index is made when they change.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from homeserver.protocol.glob_index import GlobIndex
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.policy_rules import ROOM, SERVER, USER
from homeserver.services.policy_lists.entries import ALLOW, BLOCK, FLAG

REMEMBERED = 20_000


class ListVerdict(Struct, frozen=True):
    """What a list says of somebody: to ``block`` or to ``flag``."""

    action: str
    list_name: str  # empty for a block by the admin or a rule
    room_id: str | None  # the list's own room; None for an import
    kind: str  # what of the event it names: user, server, room
    entity: str
    reason: str
    since: int  # ms

    @property
    def rule(self) -> str:
        """How the audit trail calls it."""
        return f"list:{self.list_name}" if self.list_name else "server block"

    @property
    def text(self) -> str:
        """Why, for our own users to read."""
        why = f": {self.reason}" if self.reason else ""
        return f"This server blocks this {self.kind}{why}"


class ListIndex:
    """Judges users, servers and rooms by the entries in effect."""

    def __init__(self, server_name: str, verdicts: Iterable[ListVerdict]) -> None:
        self._server_name = server_name
        by_kind: dict[tuple[str, str], list[tuple[str, ListVerdict]]] = {}
        for verdict in verdicts:
            by_kind.setdefault((verdict.action, verdict.kind), []).append((verdict.entity, verdict))
        self._indexes = {key: GlobIndex(entries) for key, entries in by_kind.items()}
        self._users: dict[str, ListVerdict | None] = {}
        self._rooms: dict[str, ListVerdict | None] = {}

    def __bool__(self) -> bool:
        return bool(self._indexes)

    def user(self, user_id: str) -> ListVerdict | None:
        """What lists say of a user, by themselves or by their server; a server's block is not here
        (see ``services/server_blocks.py``).

        A glob never meets our own users: a careless list must not silence everybody here.
        """
        if not self._indexes:
            return None
        if user_id not in self._users:
            _make_room(self._users)
            self._users[user_id] = self._judge_user(user_id)
        return self._users[user_id]

    def _judge_user(self, user_id: str) -> ListVerdict | None:
        server = server_name_of(user_id)
        if server == self._server_name:
            exact = self._strongest(USER, user_id)
            return exact if exact is not None and exact.entity == user_id else None
        found = self._strongest(USER, user_id)
        if found is not None and found.action == BLOCK:
            return found
        return found or self.flagged_server(server)

    def flagged_server(self, server: str) -> ListVerdict | None:
        """The entry by which a server is to be watched."""
        return self._find(FLAG, SERVER, server.lower())

    def room(self, *names: str) -> ListVerdict | None:
        """What lists say of a room, by its ID or an alias."""
        if not self._indexes:
            return None
        for name in names:
            if name not in self._rooms:
                _make_room(self._rooms)
                self._rooms[name] = self._strongest(ROOM, name)
            found = self._rooms[name]
            if found is not None:
                return found
        return None

    def _strongest(self, kind: str, text: str) -> ListVerdict | None:
        if self._find(ALLOW, kind, text) is not None:
            return None
        return self._find(BLOCK, kind, text) or self._find(FLAG, kind, text)

    def _find(self, action: str, kind: str, text: str) -> ListVerdict | None:
        index = self._indexes.get((action, kind))
        return index.find(text) if index is not None else None


def _make_room(memory: dict[str, ListVerdict | None]) -> None:
    if len(memory) >= REMEMBERED:
        memory.clear()
