"""What other Comity instances said of their users' consent, so that ours are told before they send.

Between Comity instances a sender's instance may ask whether a recipient has consented, and is told
when consent is withdrawn.  See ``docs/consent-between-instances.md``.  Plain Matrix servers say
nothing here; then nothing is known and nothing is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.consent.scopes import Scope
from homeserver.services.live_room import LiveRoom
from homeserver.storage import peer_consent as storage
from homeserver.storage.database import Database
from homeserver.storage.shared_rooms import sharing_rooms

NOT_GIVEN = "not_given"
GRANTED = "granted"
REASON = "dev.comity.consent_not_given"
CALL_BEGINS = frozenset({"m.call.invite", "m.call.answer"})
FRESH_MS = 300_000
MOST_EVER_IN_DIRECT = 20  # who left a direct chat is looked at as well
MAX_ANSWERS = 50_000

Key = tuple[str, str, str]  # our user, the peer, scope


class ConsentQueries(Protocol):
    """Asks other Comity instances; ``federation`` provides it."""

    async def may_contact(self, sender: UserId, recipient: UserId, scope: str) -> str | None:
        """``granted`` or ``not_given``; None where the other instance does not say."""


class PeerConsent:
    """Remembers withdrawn consent, and asks for a user's consent to calls."""

    def __init__(self, *, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self.queries: ConsentQueries | None = None
        self._withdrawn: dict[str, set[tuple[str, str]]] = {}  # our user -> (peer, scope)
        self._answers: OrderedDict[Key, tuple[int, str | None]] = OrderedDict()

    async def start(self) -> None:
        """Read what was withdrawn."""
        for user_id, peer, scope in await storage.get_withdrawn(self._database):
            self._withdrawn.setdefault(user_id, set()).add((peer, scope))

    async def heard(self, peer: str, user_id: str, scope: str, state: str) -> None:
        """Another instance says of its user whether they consent to one of ours.

        It counts in rooms that both are in, so nothing else is kept: whoever could say it of
        anybody would fill the memory.
        """
        self._answers.pop((user_id, peer, scope), None)
        withdrawn = self._withdrawn.get(user_id, set())
        if state == NOT_GIVEN:
            if not await sharing_rooms(self._database, user_id, [peer]):
                return
        elif (peer, scope) not in withdrawn:
            return
        await storage.put(self._database, peer, user_id, scope, state, self._clock_ms())
        withdrawn = self._withdrawn.setdefault(user_id, set())
        if state == NOT_GIVEN:
            withdrawn.add((peer, scope))
        else:
            withdrawn.discard((peer, scope))
        if not withdrawn:
            del self._withdrawn[user_id]

    async def may_contact(self, sender: UserId, recipient: UserId, scope: str) -> str | None:
        """Ask a recipient's instance, at most once in five minutes; None where it does not say."""
        key = (str(sender), str(recipient), scope)
        now = self._clock_ms()
        known = self._answers.get(key)
        if known is not None and known[0] > now - FRESH_MS:
            return known[1]
        if self.queries is None:
            return None
        answer = await self.queries.may_contact(sender, recipient, scope)
        self._answers[key] = (now, answer)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    async def check_message(self, sender: str, type_: str, room: LiveRoom) -> None:
        """Refuse what the one other person in a direct chat has not agreed to.

        Raises :class:`Forbidden`.  Of most senders nothing is known, and that costs nothing.
        """
        if (sender not in self._withdrawn and type_ not in CALL_BEGINS) or room.joined_count > 2:
            return
        if len(room.memberships) > MOST_EVER_IN_DIRECT:
            return
        peer = next((u for u in room.memberships if u != sender and room.is_joined(u)), None)
        if peer is None:
            return
        if (peer, Scope.MESSAGE) in self._withdrawn.get(sender, ()):
            raise Forbidden(f"{peer} does not take messages from you at present", reason=REASON)
        if type_ in CALL_BEGINS and server_name_of(peer) in room.destinations:
            answer = await self.may_contact(UserId(sender), UserId(peer), Scope.CALL)
            if answer == NOT_GIVEN:
                raise Forbidden(f"{peer} has not agreed to calls from you", reason=REASON)
