"""The words of consent: scopes, tiers of people, answers, and the defaults chosen in one step."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct, field

EVERYONE = "*"
TIER_PREFIX = "tier:"


class Scope:
    """What consent is asked for."""

    MESSAGE = "message"  # who may start a conversation
    GROUP = "group"  # who may add the user to groups
    MEDIA = "media"  # whose files and pictures are shown
    CALL = "call"  # who may call
    PRESENCE = "presence"  # who sees whether the user is online
    TYPING = "typing"
    RECEIPTS = "receipts"
    FEDERATION = "federation"  # may the user's account talk to other instances


INCOMING = (Scope.MESSAGE, Scope.GROUP, Scope.MEDIA, Scope.CALL)
OUTGOING = (Scope.PRESENCE, Scope.TYPING, Scope.RECEIPTS)
TIERED = INCOMING + OUTGOING
SCOPES = (*TIERED, Scope.FEDERATION)

# Who somebody is to a user, the closest first.
CONTACT, SHARED_ROOM, CONTACT_OF_CONTACT, KNOWN_SERVER, STRANGER = TIERS = (
    "contact",
    "shared_room",
    "contact_of_contact",
    "known_server",
    "stranger",
)
KNOWN_TIERS = frozenset({CONTACT, SHARED_ROOM})


class Answer(Enum):
    """What becomes of what a peer wants."""

    ALLOW = "allow"
    ASK = "ask"  # a message request: it shows, but does not notify
    BLOCK = "block"  # refused
    HIDE = "hide"  # taken, never shown, and its sender not told


Answers = Mapping[str, Answer]  # by tier

# A row's state, and what it means for the peer it names.
STATES: Final = {
    "granted": Answer.ALLOW,
    "asked": Answer.ASK,
    "denied": Answer.BLOCK,
    "revoked": Answer.BLOCK,
}
STATE_OF_ANSWER: Final = {
    Answer.ALLOW: "granted",
    Answer.ASK: "asked",
    Answer.BLOCK: "denied",
}


def _preset(known: Answer, others: Answer) -> Answers:
    return {
        tier: Answer.ALLOW if tier == CONTACT else known if tier == SHARED_ROOM else others
        for tier in TIERS
    }


PRESETS: Final[Mapping[str, Answers]] = {
    "open": _preset(Answer.ALLOW, Answer.ALLOW),
    "known": _preset(Answer.ALLOW, Answer.ASK),
    "ask": _preset(Answer.ASK, Answer.ASK),
    "closed": _preset(Answer.BLOCK, Answer.BLOCK),
}


def preset_of(answers: Answers) -> str | None:
    """The preset that gives just these answers."""
    return next((name for name, preset in PRESETS.items() if preset == answers), None)


def parse_answers(value: object) -> dict[str, Answer]:
    """A preset's name, or ``{tier: answer}`` (what is not named is asked about).

    Raises :class:`ValueError` with what may be.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            raise ValueError(f"'{value}' is not one of {', '.join(PRESETS)}")
        return dict(PRESETS[value])
    if not isinstance(value, Mapping):
        raise ValueError(f"give one of {', '.join(PRESETS)}, or an answer for each tier")
    answers = dict(PRESETS["ask"])
    answers.update(parse_tiers(value))
    return answers


def parse_tiers(value: Mapping[object, object]) -> dict[str, Answer]:
    """``{tier: allow, ask or block}``.  Raises :class:`ValueError` with what may be."""
    answers: dict[str, Answer] = {}
    for tier, answer in value.items():
        if tier not in TIERS:
            raise ValueError(f"'{tier}' is not one of {', '.join(TIERS)}")
        if answer not in ("allow", "ask", "block"):
            raise ValueError(f"'{answer}' is not one of allow, ask, block")
        answers[str(tier)] = Answer(answer)
    return answers


class Defaults(Struct, frozen=True):
    """The instance's answers where a user has none of their own."""

    answers: Mapping[str, Answers] = field(
        default_factory=lambda: dict.fromkeys(TIERED, PRESETS["open"])
    )
    cross_instance_opt_in: bool = True
    user_may_change: frozenset[str] = frozenset(SCOPES)
