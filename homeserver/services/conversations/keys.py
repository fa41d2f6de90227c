"""Event types, and keys of events' content, by which messages are told apart."""

from __future__ import annotations

from homeserver.protocol.answers import POLL_ENDS as POLL_ENDS
from homeserver.protocol.answers import POLL_RESPONSES as POLL_RESPONSES
from homeserver.protocol.answers import POLL_STARTS as POLL_STARTS
from homeserver.protocol.answers import RSVP as RSVP

HTML = "org.matrix.custom.html"
MESSAGE = "m.room.message"

# Comity's own, in the content of an `m.room.message` with a body that any client shows.
MENTIONS = "dev.comity.mentions"
CONTACT = "dev.comity.contact"
HAPPENING = "dev.comity.event"
FORWARDED = "dev.comity.forwarded"
CUSTOM = "dev.comity.custom"

EXTENSIBLE_TEXTS = ("org.matrix.msc1767.text", "m.text")
