"""Incoming webhooks: addresses to which a program posts messages, without any token.

Who knows the address may write to its conversation, as whoever made it, with a label that says
where the message comes from.  The address is shown once and kept as a hash.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.access import Access, standing_of
from homeserver.services.conversations.contents import invalid
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.sending import Sending, SentMessage
from homeserver.services.conversations.shapes.messages import NewMessage
from homeserver.services.rate_limits import RateLimits
from homeserver.services.requester import Requester
from homeserver.services.sessions import hash_token
from homeserver.storage import incoming_webhooks as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.incoming_webhooks import IncomingWebhook

PREFIX = "cth_"
SHOWN_CHARACTERS = 10
MAX_SECRET_LENGTH = 100
MAX_LABEL_LENGTH = 80
MOST_PER_CONVERSATION = 50
CACHED = 10_000
RECHECK_AFTER_MS = 60_000
WRITE_USES_AFTER_MS = 5_000
NOT_FOUND = "There is no such address to post to; it may have been revoked"


class Posted(Struct, frozen=True):
    """A message that was posted, and as whom."""

    requester: Requester
    message: SentMessage


class IncomingWebhooks:
    """Makes, recognises and revokes such addresses.  A job of the caretaker notes their use."""

    def __init__(
        self,
        *,
        database: Database,
        access: Access,
        sending: Sending,
        rate_limits: RateLimits,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        """``wake`` the caretaker."""
        self._database = database
        self._access = access
        self._sending = sending
        self._rate_limits = rate_limits
        self._wake = wake
        self._clock_ms = clock_ms
        self._known: OrderedDict[bytes, tuple[IncomingWebhook, int]] = OrderedDict()
        self._revocations = 0
        self._uses: dict[str, int] = {}
        self._uses_since = 0

    # ------------------------------------------------------------ making and revoking

    async def create(
        self, requester: Requester, room_id: str, label: str, *, application_id: str | None
    ) -> tuple[str, IncomingWebhook]:
        """An address at which messages to a conversation are posted: its secret, and itself.

        Raises :class:`InvalidParam`, :class:`Problem` and what :meth:`Access.allowed` raises.
        """
        await self._access.allowed(requester.user_id, room_id, "send")
        if not 0 < len(label) <= MAX_LABEL_LENGTH or not label.isprintable():
            raise InvalidParam(f"'label' must be 1 to {MAX_LABEL_LENGTH} printable characters")
        if await storage.count_of_room(self._database, room_id) >= MOST_PER_CONVERSATION:
            raise Problem(
                "quota_exceeded",
                f"The conversation has {MOST_PER_CONVERSATION} incoming webhooks: revoke some",
                status=429,
            )
        secret = PREFIX + secrets.token_urlsafe(32)
        incoming = IncomingWebhook(
            incoming_id=f"in_{secrets.token_hex(8)}",
            prefix=secret[:SHOWN_CHARACTERS],
            room_id=room_id,
            user_id=requester.user_id,
            application_id=application_id,
            label=label,
            created_at=self._clock_ms(),
        )
        await storage.insert(self._database, incoming, hash_token(secret))
        return secret, incoming

    async def list_of(self, user_id: str, room_id: str) -> list[IncomingWebhook]:
        """A conversation's, as far as the user may see them: all for who administers it, else
        their own."""
        whose = await self._whose(user_id, room_id)
        await self._write_uses()
        return await storage.get_of_room(self._database, room_id, whose)

    async def revoke(self, user_id: str, room_id: str, incoming_id: str) -> None:
        """Make an address useless, at once.  Raises :class:`NotFound`."""
        whose = await self._whose(user_id, room_id)
        secret_hash = await storage.delete(self._database, incoming_id, room_id, whose)
        if secret_hash is None:
            raise NotFound("There is no such incoming webhook")
        self._revocations += 1
        self._known.pop(secret_hash, None)

    async def _whose(self, user_id: str, room_id: str) -> str | None:
        room = await self._access.room(user_id, room_id)
        return None if "administer" in standing_of(room).effective(user_id) else user_id

    async def account_ended(self, connection: Connection, user_id: str) -> None:
        """Delete an ended account's addresses; :meth:`forget` them after the commit."""
        await storage.delete_of_user(connection, user_id)

    def forget(self) -> None:
        """Ask the database again about all."""
        self._revocations += 1
        self._known.clear()

    # ------------------------------------------------------------ posting

    async def post(
        self, secret: str, message: NewMessage, key: str | None, *, caller: str
    ) -> Posted:
        """Send a message to the conversation of an address.

        ``key``: the same one again sends nothing; ``caller``: from where it is posted.  Raises
        :class:`NotFound`, :class:`~homeserver.errors.LimitExceeded`, and what
        :meth:`Sending.send` raises.
        """
        incoming = await self._find(secret)
        if incoming is None:
            self._rate_limits.check("incoming_guess", caller)
            raise NotFound(NOT_FOUND)
        self._rate_limits.check("incoming_webhook", incoming.incoming_id)
        if message.to is not None or message.conversation_id is not None:
            raise invalid("to", "The address says where the message goes")
        if message.client_id is not None:
            raise invalid("client_id", "Use the header 'Idempotency-Key'")
        requester = Requester(UserId(incoming.user_id), None)
        sent = await self._sending.send(
            requester,
            replace(message, conversation_id=incoming.room_id),
            _own_key(incoming.incoming_id, key) if key is not None else None,
            label=incoming.label,
        )
        self._note_use(incoming.incoming_id)
        return Posted(requester, sent)

    async def _find(self, secret: str) -> IncomingWebhook | None:
        if not secret.startswith(PREFIX) or len(secret) > MAX_SECRET_LENGTH:
            return None
        secret_hash, now = hash_token(secret), self._clock_ms()
        known = self._known.get(secret_hash)
        if known is not None and now - known[1] < RECHECK_AFTER_MS:
            return known[0]
        revocations = self._revocations
        incoming = await storage.find(self._database, secret_hash)
        if incoming is None:
            self._known.pop(secret_hash, None)
        elif revocations == self._revocations:  # else it may be void by now
            self._known[secret_hash] = (incoming, now)
            self._known.move_to_end(secret_hash)
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        return incoming

    # ------------------------------------------------------------ last used

    def _note_use(self, incoming_id: str) -> None:
        now = self._clock_ms()
        if not self._uses:
            self._uses_since = now
            self._wake()
        self._uses[incoming_id] = now

    async def _write_uses(self) -> None:
        if self._uses:
            uses, self._uses = self._uses, {}
            await storage.set_last_used(self._database, uses)

    async def step(self) -> bool:
        """Write when addresses were last used; a job of the caretaker."""
        if not self._uses or self._clock_ms() - self._uses_since < WRITE_USES_AFTER_MS:
            return False
        await self._write_uses()
        return True

    async def next_due(self) -> int | None:
        """When there is something to write (ms)."""
        return self._uses_since + WRITE_USES_AFTER_MS if self._uses else None


def _own_key(incoming_id: str, key: str) -> str:
    """A key that is nobody else's: all of a user's messages share one set of them."""
    return "in_" + hashlib.sha256(f"{incoming_id} {key}".encode()).hexdigest()
