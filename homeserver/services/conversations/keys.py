"""Event types, and keys of events' content, by which messages are told apart."""

from __future__ import annotations

HTML = "org.matrix.custom.html"
MESSAGE = "m.room.message"

# Comity's own, in the content of an `m.room.message` with a body that any client shows.
MENTIONS = "dev.comity.mentions"
CONTACT = "dev.comity.contact"
HAPPENING = "dev.comity.event"
FORWARDED = "dev.comity.forwarded"
CUSTOM = "dev.comity.custom"
LABEL = "dev.comity.label"  # where a message comes from that a program posted

EXTENSIBLE_TEXTS = ("org.matrix.msc1767.text", "m.text")
