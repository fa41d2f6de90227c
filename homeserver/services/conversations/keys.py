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
RSVP = "dev.comity.rsvp"  # an event type, and the key of the answer in its content

# MSC3381, polls.  Element sends and reads the unstable spelling; others the stable one.
POLL_STARTS = ("org.matrix.msc3381.poll.start", "m.poll.start")
POLL_RESPONSES = ("org.matrix.msc3381.poll.response", "m.poll.response")
POLL_ENDS = ("org.matrix.msc3381.poll.end", "m.poll.end")
EXTENSIBLE_TEXTS = ("org.matrix.msc1767.text", "m.text")
