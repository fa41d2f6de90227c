"""Comity's own fields in the content of messages, checked before they are sent."""

from __future__ import annotations

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.message_ends import BadEnd, ends, parse_message_end


def check_message_end(content: JsonObject) -> None:
    """Check what a local sender says of a message's end.  Raises :class:`InvalidParam`."""
    if not ends(content):
        return
    try:
        parse_message_end(content)
    except BadEnd as error:
        raise InvalidParam(f"{error}") from error
