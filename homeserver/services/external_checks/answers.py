"""What an external check says, or that it says nothing."""

from __future__ import annotations

from msgspec import Struct

ALLOW, FLAG = "allow", "flag"
VERDICTS = frozenset({ALLOW, FLAG, "hold", "reject", "soft_fail", "strip"})
MAX_REASON = 300


class Answer(Struct, frozen=True):
    """A verdict and why, for the audit trail."""

    verdict: str  # one of VERDICTS
    reason: str = ""


class CheckFailed(Exception):
    """The check did not answer, or not as agreed.  The text is for the log: no content in it."""


class CannotCheck(Exception):
    """The check works, but cannot look at this: a file too large for it."""


def clean_reason(reason: object) -> str:
    """A reason that can be kept: short, and of one printable line."""
    if not isinstance(reason, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in reason[:MAX_REASON]).strip()
