"""What is answered to an event that cannot be."""

from __future__ import annotations

from homeserver.errors import MatrixError, TooLarge
from homeserver.protocol.events import BadEvent


def bad_event(error: BadEvent) -> MatrixError:
    """The answer to an event that breaks the format."""
    text = str(error)
    if "large" in text or "bytes" in text:
        return TooLarge(text)
    return MatrixError(text, errcode="M_BAD_JSON")
