"""What a webhook can ask for: types such as ``message.created``, families, or everything."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from homeserver.errors import InvalidParam

ALL = "*"
TEST, DISABLED = "webhook.test", "webhook.disabled"
ACCOUNT_CREATED, ACCOUNT_DELETED = "account.created", "account.deleted"

FAMILIES = (
    "account",
    "call",
    "conversation",
    "event",
    "member",
    "message",
    "messages",
    "poll",
    "reaction",
    "request",
    "webhook",
)
MOST = 50
MAX_LENGTH = 60


def parse_wanted(given: Iterable[str]) -> list[str]:
    """The types that a webhook asks for, each once.  Raises :class:`InvalidParam`."""
    wanted = list(dict.fromkeys(given))
    if not 0 < len(wanted) <= MOST:
        raise InvalidParam(f"'events' must name 1 to {MOST} types, such as message.*")
    for pattern in wanted:
        family, dot, rest = pattern.partition(".")
        known = family in FAMILIES and dot and (rest == ALL or _is_name(rest))
        if pattern != ALL and not known:
            raise InvalidParam(
                f"'{pattern[:MAX_LENGTH]}' is no type of event: a type such as message.created,"
                f" a family such as message.*, or *. The families are {', '.join(FAMILIES)}"
            )
    return wanted


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_LENGTH and text.replace("_", "").isalpha() and text.isascii()


def is_wanted(type_: str, wanted: Collection[str]) -> bool:
    """Whether a type is among those that a webhook asks for."""
    family = type_.partition(".")[0]
    return type_ in wanted or f"{family}.{ALL}" in wanted or (ALL in wanted and family in FAMILIES)
