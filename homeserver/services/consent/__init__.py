"""Consent: may this peer contact this user, may this user contact other instances.

See ``docs/consent-and-policy.md``.
"""

from homeserver.services.consent.consent import Consent
from homeserver.services.consent.scopes import (
    EVERYONE,
    PRESETS,
    TIERS,
    Answer,
    Answers,
    Defaults,
    Scope,
    parse_answers,
)

__all__ = [
    "EVERYONE",
    "PRESETS",
    "TIERS",
    "Answer",
    "Answers",
    "Consent",
    "Defaults",
    "Scope",
    "parse_answers",
]
