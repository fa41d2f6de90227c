"""What a rule looks at: one event, where it comes from, and what is known of it.

What costs something to find out is found out once, when the first rule asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from msgspec import Struct

from homeserver.protocol.canonical import NotCanonical, encode_canonical_json
from homeserver.protocol.events import StateKey
from homeserver.protocol.media_uris import MediaUri, media_uris
from homeserver.services.media_facts import MediaFacts
from homeserver.services.policy import text as reading

NOTHING: frozenset[str] = frozenset()
# One of which every file is in that can be read.
MEDIA_FIELDS = frozenset(
    ("url", "file", "info", "m.new_content", "body", "formatted_body", "images")
)


class RoomView(Protocol):
    """What rules ask of a room; :class:`~homeserver.services.live_room.LiveRoom` answers it."""

    @property
    def joined_count(self) -> int:
        """How many are joined."""

    @property
    def invited_count(self) -> int:
        """How many are invited."""

    def content(self, key: StateKey) -> Mapping[str, object]:
        """The content of a current state event; empty if there is none."""


class UnseenRoom(Struct, frozen=True):
    """A room that we are not in, as an invite describes it."""

    room_type: str | None = None
    joined_count: int = 1
    invited_count: int = 0

    def content(self, key: StateKey) -> Mapping[str, object]:
        """The create event's, as far as it is known."""
        if key == ("m.room.create", "") and self.room_type is not None:
            return {"type": self.room_type}
        return {}


@dataclass(slots=True, eq=False)
class Subject:
    """One event under judgement.

    Facts that need the database are None until somebody has looked (see
    :mod:`homeserver.services.policy.facts`): a test for one that stays None does not match.
    """

    direction: str  # in, out, local
    origin: str  # the sender's server
    sender: str
    type: str
    content: dict[str, Any]
    room_id: str
    event_id: str | None = None
    state_key: str | None = None
    room: RoomView | None = None
    media: Sequence[MediaFacts] | None = None  # of its files; None: nobody has looked
    at_ms: int = 0  # wall clock
    tick: float = 0.0  # seconds, monotonic: what rates are counted by
    invites: int = 0  # the sender's in the last hour, this one included; 0: it is no invite
    account_created_at: int | None = None  # ms
    is_known: bool | None = None  # standing
    known: int = 0  # the aspects that were looked up
    flags: list[str] = field(default_factory=list)  # rules that want somebody to look at it
    retry_after_seconds: float = 0.0  # when the rate that it exceeds would let it pass
    _text: str | None = field(default=None, init=False)
    _hrefs: Sequence[str] = field(default=(), init=False)
    _folded: str | None = field(default=None, init=False)
    _words: frozenset[str] | None = field(default=None, init=False)
    _links: frozenset[str] | None = field(default=None, init=False)
    _domains: frozenset[str] | None = field(default=None, init=False)
    _mentions: frozenset[str] | None = field(default=None, init=False)
    _size_bytes: int | None = field(default=None, init=False)

    @property
    def is_state(self) -> bool:
        """Whether it is a state event."""
        return self.state_key is not None

    @property
    def is_invite(self) -> bool:
        """Whether it invites somebody."""
        return self.type == "m.room.member" and self.content.get("membership") == "invite"

    @property
    def encrypted(self) -> bool:
        """Whether its content is encrypted, and so not read."""
        return self.type == reading.ENCRYPTED

    @property
    def msgtype(self) -> str | None:
        """The message's ``msgtype``, if it has one."""
        msgtype = self.content.get("msgtype")
        return msgtype if isinstance(msgtype, str) else None

    def text(self) -> str:
        """What a person would read of it, a line for each piece; nothing if it is encrypted."""
        text = self._text
        if text is None:
            text = ""
            if self.type != reading.ENCRYPTED:
                text, self._hrefs = reading.text_parts(self.content)
            self._text = text
        return text

    def text_bytes(self) -> bytes:
        """:meth:`text` in UTF-8, for RE2."""
        return self.text().encode("utf-8", "replace")

    def is_plain(self) -> bool:
        """Whether the text certainly has no link, no domain and names no user."""
        text = self._text if self._text is not None else self.text()
        return not self._hrefs and reading.is_plain(text)

    def folded(self) -> str:
        """:meth:`text` for comparing words: case and disguises dropped."""
        if self._folded is None:
            self._folded = reading.fold(self.text())
        return self._folded

    def words(self) -> frozenset[str]:
        """The distinct words of the folded text."""
        if self._words is None:
            text = self.text()
            ascii_only = text.isascii()
            self._words = reading.words_of(text if ascii_only else self.folded())
        return self._words

    def links(self) -> frozenset[str]:
        """The distinct links in what a person would read."""
        if self._links is None:
            text = self.text()
            self._links = reading.links_of(text, self._hrefs)
        return self._links

    def domains(self) -> frozenset[str]:
        """The hosts that links or bare names in the text lead to, and the domains above them."""
        if self._domains is None:
            links = self.links()
            hosts = reading.hosts_of(self.text(), links)
            self._domains = reading.domains_of(hosts) if hosts else NOTHING
        return self._domains

    def mentions(self) -> frozenset[str]:
        """Who is mentioned."""
        if self._mentions is None:
            text = self.text()
            self._mentions = (
                NOTHING if self.encrypted else reading.mentions_of(self.content, text, self._hrefs)
            )
        return self._mentions

    def size_bytes(self) -> int:
        """The content's size as canonical JSON."""
        if self._size_bytes is None:
            try:
                self._size_bytes = len(encode_canonical_json(self.content))
            except NotCanonical:
                self._size_bytes = 0  # it will not become an event
        return self._size_bytes

    def is_surely_below(self, size: int) -> bool:
        """Whether :meth:`size_bytes` is less, where that is plain without canonical JSON."""
        try:
            # Canonical JSON has the same, in another order; some numbers are a little longer.
            return 2 * len(orjson.dumps(self.content)) < size
        except TypeError:
            return False

    def media_uris(self) -> Sequence[MediaUri]:
        """The files that it refers to."""
        return () if MEDIA_FIELDS.isdisjoint(self.content) else media_uris(self.content)
