"""The one way in which the API's entrances send messages.

A send costs no query more than Matrix's own: the room, the account data that say which rooms are
direct, and the senders' limits are in memory.  See ``docs/api/messages.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.relations import THREAD, relation_of
from homeserver.services.conversations.contents import (
    FILES,
    RELATION,
    Content,
    Written,
    invalid,
    relation,
    write,
)
from homeserver.services.conversations.keys import LABEL
from homeserver.services.conversations.media_notes import MediaNotes
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.rendered import Rendered
from homeserver.services.conversations.rendering import render
from homeserver.services.conversations.shapes.messages import (
    ConversationKind,
    NewMessage,
    Outcome,
    Sent,
    SentTo,
)
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.rate_limits import RateLimits
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.rooms import Sent as SentEvent
from homeserver.storage.event_records import ClientTransaction

PATH = "conversations"  # of the transactions: one key is one message, wherever it goes
REQUESTED = "They are asked first whether they want to hear from you"
HELD = "A moderator looks at it first"


class DirectConversations(Protocol):
    """The conversations of two."""

    async def find_or_make(
        self, owner: UserId, peer: UserId, *, encrypted: bool = False
    ) -> tuple[str, bool]:
        """The direct conversation with somebody, and whether it was made just now."""


class DirectPeers(Protocol):
    """Which conversations are direct."""

    async def peers_by_room(self, owner: str) -> dict[str, str]:
        """Room ID -> with whom it is direct."""


class SentMessage(Struct, frozen=True):
    """A message that is on disk.  ``created``: its conversation was made for it.

    ``repeated``: an earlier call with the same key sent it.
    """

    sent: SentEvent
    room_id: str
    outcome: Outcome
    created: bool
    repeated: bool


class Sending:
    """Sends messages."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        store: EventStore,
        direct: DirectConversations,
        peers: DirectPeers,
        media: MediaNotes,
        rendered: Rendered,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._direct = direct
        self._peers = peers
        self._media = media
        self._rendered = rendered
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms

    async def send(
        self,
        requester: Requester,
        message: NewMessage,
        key: str | None = None,
        *,
        queued: Callable[[], None] | None = None,
        label: str | None = None,
    ) -> SentMessage:
        """Send a message; returns when it is on disk.

        The same ``key`` of the same device again sends nothing, and answers with the message that
        it made; without one, the message's ``client_id`` is it.  ``queued`` is called once the
        message has its place among others; ``label`` says where it comes from.  Raises
        :class:`Problem` for what makes no sense, and for a key of another message;
        :class:`NotFound`, :class:`Forbidden`, what policy and consent raise, and
        :class:`LimitExceeded`.
        """
        self._rate_limits.check("message", requester.user_id)
        if message.kind in FILES:
            message = await self._media.with_facts(message)
        written = write(message)
        if label is not None:
            written.content[LABEL] = label
        room_id, created = await self._conversation(
            requester.user_id,
            message.to,
            message.conversation_id,
            encrypted=message.kind == "encrypted",
            clear=message.allow_unencrypted,
        )
        if message.reply_to is not None or message.thread is not None:
            written.content[RELATION] = await self._relation(message, room_id)
        key = key or message.client_id
        return await self._send(requester, written, room_id, created, key, queued)

    async def send_written(
        self,
        requester: Requester,
        written: Written,
        *,
        to: str | None = None,
        conversation_id: str | None = None,
        key: str | None = None,
    ) -> SentMessage:
        """Send what is written already, as :meth:`send` does."""
        self._rate_limits.check("message", requester.user_id)
        room_id, created = await self._conversation(requester.user_id, to, conversation_id)
        return await self._send(requester, written, room_id, created, key)

    async def _send(
        self,
        requester: Requester,
        written: Written,
        room_id: str,
        created: bool,
        key: str | None,
        queued: Callable[[], None] | None = None,
    ) -> SentMessage:
        user_id, transaction = requester.user_id, None
        if key is not None:
            device = requester.device_id or ""
            transaction = ClientTransaction(user_id, device, PATH, key, self._clock_ms())
        draft = Draft(user_id, written.type, written.content)
        sent = await self._rooms.send(room_id, draft, transaction=transaction, queued=queued)
        if sent.repeated:
            check_same(sent, room_id, written)
        outcome = await self._outcome(room_id, sent)
        return SentMessage(sent, room_id, outcome, created, sent.repeated)

    def json(self, message: SentMessage) -> bytes:
        """The message as all are told of it."""
        return self._rendered.json(message.sent.event, message.sent.position)

    async def answer(
        self, requester: Requester, message: SentMessage, client_id: str | None = None
    ) -> Sent:
        """What the sender is told."""
        room_id, sent = message.room_id, message.sent
        rendered = render(sent.event, sent.position)
        if client_id is not None:
            rendered = msgspec.structs.replace(rendered, client_id=client_id)
        peer = (await self._peers.peers_by_room(requester.user_id)).get(room_id)
        kind: ConversationKind = "group" if peer is None else "direct"
        if peer == requester.user_id:
            kind = "self"
        detail = {"requested": REQUESTED, "held": HELD}.get(message.outcome)
        return Sent(
            message=rendered,
            conversation=SentTo(id=room_id, kind=kind, created=message.created),
            outcome=message.outcome,
            detail=detail,
        )

    # ------------------------------------------------------------ where to

    def check_rate(self, user_id: str) -> None:
        """Count something that is sent.  Raises :class:`LimitExceeded`."""
        self._rate_limits.check("message", user_id)

    async def place(
        self, user_id: UserId, to: str | None, conversation_id: str | None, *, clear: bool
    ) -> str:
        """The room of a conversation, or of the one with a person, which is made if need be.

        Raises what :meth:`send` does.
        """
        room_id, _ = await self._conversation(user_id, to, conversation_id, clear=clear)
        return room_id

    async def _conversation(
        self,
        user_id: UserId,
        to: str | None,
        room_id: str | None,
        *,
        encrypted: bool = False,
        clear: bool = False,
    ) -> tuple[str, bool]:
        """The room, and whether it was made for the message.

        Unless ``clear``: nothing is sent in the clear where people rely on encryption.
        """
        created = False
        if to is not None:
            if room_id is not None:
                raise invalid("to", "Give 'to' or 'conversation_id', not both")
            peer = parse_person(to, "to")
            room_id, created = await self._direct.find_or_make(user_id, peer, encrypted=encrypted)
        if room_id is None:
            raise invalid("to", "Say where to: 'to' or 'conversation_id'")
        room = await self.member_room(user_id, room_id)
        if room.encrypted and not encrypted and not clear:
            raise Problem(
                "encryption_required",
                "This conversation is encrypted: send 'encrypted', or say 'allow_unencrypted'",
                status=409,
            )
        return room_id, created

    async def member_room(self, user_id: str, room_id: str) -> LiveRoom:
        """A conversation that somebody is in.  Raises :class:`NotFound`, :class:`Forbidden`."""
        room = await self._rooms.find(room_id)
        if room is not None:
            if room.is_joined(user_id):
                return room
            if room.membership(user_id) == "invite":
                raise Forbidden("You are invited to this conversation: join it first")
        raise NotFound("There is no such conversation, or you are not in it")

    async def _relation(self, message: NewMessage, room_id: str) -> Content:
        """What a message says of those that it answers; the thread by its root.

        Raises :class:`Problem` for messages that are not there.
        """
        thread = message.thread
        names = {"reply_to": message.reply_to, "thread": thread}
        found = await self._store.get_many(i for i in names.values() if i is not None)
        for name, event_id in names.items():
            if event_id is None:
                continue
            stored = found.get(event_id)
            if stored is None or stored.event.room_id != room_id:
                raise invalid(name, f"'{name}' is no message of this conversation")
            target = relation_of(stored.event.content)
            if name == "thread" and target is not None and target.rel_type == THREAD:
                thread = target.event_id
        return relation(message.reply_to, thread)

    # ------------------------------------------------------------ what became of it

    async def _outcome(self, room_id: str, sent: SentEvent) -> Outcome:
        if sent.held:
            return "held"
        room = await self._rooms.find(room_id)
        if room is not None and room.joined_count == 1 and room.invited_count == 1:
            return "requested"
        return "sent"


def check_same(sent: SentEvent, room_id: str, written: Written) -> None:
    """Raise :class:`Problem` if a key was used for another message before."""
    event = sent.event
    content = event.content
    if (event.room_id, event.type) == (room_id, written.type) and (
        content == written.content
        or not content  # it is deleted meanwhile
        or ("info" in content and _without_info(content) == _without_info(written.content))
    ):
        return
    raise Problem(
        "idempotency_mismatch",
        "This key was used for another message: make a new one",
        status=422,
    )


def _without_info(content: Content) -> Content:
    """A file's message without its measures, of which more may be known by now."""
    return {key: value for key, value in content.items() if key != "info"}
