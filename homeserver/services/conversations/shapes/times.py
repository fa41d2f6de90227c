"""Times as the API spells them: RFC 3339 in UTC, with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from homeserver.errors import InvalidParam

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MS = 253_402_300_799_999  # the end of the year 9999


def rfc3339(ms: int) -> str:
    """A time in ms since 1970, such as ``2026-11-21T09:41:16.123Z``, within the years 1970 to 9999.

    Events of other instances bear any number.
    """
    moment = EPOCH + timedelta(milliseconds=min(max(ms, 0), LATEST_MS))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str, name: str = "time") -> int:
    """A time in ms since 1970.  Raises :class:`InvalidParam` unless it names its offset."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return (moment - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise InvalidParam(
            f"'{name}' must be a time with its offset, such as 2026-11-21T09:41:16.123Z"
        ) from error
