"""One user's consent in memory: rows, and what they say.  Pure but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from homeserver.protocol.identifiers import server_name_of
from homeserver.services.consent.scopes import (
    EVERYONE,
    STATES,
    TIER_PREFIX,
    Answer,
    Answers,
    Scope,
)
from homeserver.services.visibility import NOTHING_WITHHELD, Withheld
from homeserver.storage.consent import CLEARED

Rows = dict[tuple[str, str], tuple[str, int | None]]
NEVER = 2**62


class Blocked(NamedTuple):
    """Whom somebody has blocked."""

    users: frozenset[str]
    servers: frozenset[str]
    spared: frozenset[str]  # users of those instances to whom the owner has agreed themselves


NOBODY = Blocked(frozenset(), frozenset(), frozenset())


class OwnerConsent:
    """A user's rows: ``(scope, peer)`` -> (state, expiry in ms)."""

    __slots__ = (
        "_answers",
        "_blocked",
        "_blocked_until",
        "_defaults",
        "_particular",
        "_scopes",
        "_server_name",
        "_withheld",
        "rows",
    )

    def __init__(self, rows: Rows, defaults: Mapping[str, Answers], server_name: str) -> None:
        """``server_name``: the owner's."""
        self.rows = rows
        self._server_name = server_name
        self._defaults = defaults
        self._answers: dict[str, Answers] = {}
        self._scopes: frozenset[str] = frozenset()
        self._particular: frozenset[str] = frozenset()
        self._blocked = NOBODY
        self._blocked_until = 0
        self._withheld: tuple[frozenset[str], Blocked, Withheld] | None = None
        self._settle()

    def change(self, scope: str, peer: str, state: str, expires_at: int | None) -> None:
        """Take in a committed change."""
        if state == CLEARED:
            self.rows.pop((scope, peer), None)
        else:
            self.rows[(scope, peer)] = (state, expires_at)
        self._settle()

    def _settle(self) -> None:
        self._answers.clear()
        self._scopes = frozenset(scope for scope, _ in self.rows)
        self._particular = frozenset(
            scope
            for scope, peer in self.rows
            if peer != EVERYONE and not peer.startswith(TIER_PREFIX)
        )
        self._blocked_until = 0
        self._withheld = None

    def blocked(self, now: int) -> Blocked:
        """Whom the owner has blocked altogether: users, and instances."""
        if now >= self._blocked_until:
            users: set[str] = set()
            servers: set[str] = set()
            until = NEVER
            for (scope, peer), (state, expires_at) in self.rows.items():
                if scope != Scope.MESSAGE or STATES[state] is not Answer.BLOCK:
                    continue
                if peer == EVERYONE or peer.startswith(TIER_PREFIX):
                    continue
                if expires_at is not None and expires_at <= now:
                    continue
                (users if peer[0] == "@" else servers).add(peer)
                until = min(until, expires_at or NEVER)
            spared = set()
            for contact, expires_at in self._contacts(now) if servers else ():
                if server_name_of(contact) in servers:
                    spared.add(contact)
                    until = min(until, expires_at or NEVER)
            self._blocked = Blocked(frozenset(users), frozenset(servers), frozenset(spared))
            self._blocked_until = until
        return self._blocked

    def withheld(
        self,
        ignored: frozenset[str],
        now: int,
        withheld_calls: Callable[[OwnerConsent], Callable[[str], bool] | None],
    ) -> Withheld:
        """What the owner does not get, made once until it changes: each of their syncs asks.

        ``ignored`` is the same object for as long as it says the same.  ``withheld_calls`` is asked
        again only when the rows have changed.
        """
        blocked, known = self.blocked(now), self._withheld
        if known is not None and known[0] is ignored and known[1] is blocked:
            return known[2]
        withheld, may_not_call = NOTHING_WITHHELD, withheld_calls(self)
        if ignored or blocked.users or blocked.servers or may_not_call is not None:
            withheld = Withheld(
                ignored | blocked.users, blocked.servers, blocked.spared, may_not_call
            )
        self._withheld = (ignored, blocked, withheld)
        return withheld

    def state(self, scope: str, peer: str, now: int) -> str | None:
        """The state of one row, if it is there and has not expired."""
        row = self.rows.get((scope, peer))
        return row[0] if row is not None and (row[1] is None or row[1] > now) else None

    def most_specific(self, scope: str, peer_user: str, now: int) -> str | None:
        """The state of the most specific row for a user: theirs, their instance's, everyone's."""
        for peer in (peer_user, server_name_of(peer_user), EVERYONE):
            state = self.state(scope, peer, now)
            if state is not None:
                return state
        return None

    def explicit(self, scope: str, peer_user: str, now: int) -> Answer | None:
        """What the rows say of a user, defaults aside.

        Who is blocked (scope ``message``) is blocked for all else, and so is everybody of an
        instance that the user does not talk to (scope ``federation``).
        """
        server = server_name_of(peer_user)
        blocked = self.blocked(now)
        if peer_user in blocked.users or self.refuses_server(server, now):
            return Answer.BLOCK
        if server in blocked.servers and peer_user not in blocked.spared:
            return Answer.BLOCK
        for peer in (peer_user, server, EVERYONE):
            state = self.state(scope, peer, now)
            # Of a user, "asked" is a request that waits: what is more general decides.
            if state is not None and not (state == "asked" and peer == peer_user):
                return STATES[state]
        return None

    def refuses_server(self, server: str, now: int) -> bool:
        """Whether the owner said that their account does not talk to an instance."""
        if server == self._server_name or Scope.FEDERATION not in self._scopes:
            return False
        state = self.state(Scope.FEDERATION, server, now)
        if state is None:
            state = self.state(Scope.FEDERATION, EVERYONE, now)
        return state in ("denied", "revoked")

    def is_contact(self, peer_user: str, now: int) -> bool:
        """Whether the owner has accepted a user, or written to them first."""
        return self.state(Scope.MESSAGE, peer_user, now) == "granted"

    def has_contact_on(self, server: str, now: int) -> bool:
        """Whether the owner has accepted, or written to, anybody of an instance."""
        return any(server_name_of(contact) == server for contact, _ in self._contacts(now))

    def _contacts(self, now: int) -> Iterator[tuple[str, int | None]]:
        """The users whom the owner has accepted or written to, and until when."""
        for (scope, peer), (state, expires_at) in self.rows.items():
            if scope != Scope.MESSAGE or state != "granted" or peer[0] != "@":
                continue
            if expires_at is None or expires_at > now:
                yield peer, expires_at

    def has_rows(self, scope: str) -> bool:
        """Whether there is any row of a scope."""
        return scope in self._scopes

    def has_particular(self, scope: str) -> bool:
        """Whether there is a row of a scope for some user or instance."""
        return scope in self._particular

    def answers(self, scope: str) -> Answers:
        """The owner's answers by tier, the instance's where they have none."""
        known = self._answers.get(scope)
        if known is None:
            known = dict(self._defaults[scope])
            for tier in known:
                row = self.rows.get((scope, TIER_PREFIX + tier))
                if row is not None:
                    known[tier] = STATES[row[0]]
            self._answers[scope] = known
        return known
