"""One of ``policy.checks``, as the configuration has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WEBHOOK, CLAMAV = "webhook", "clamav"
DEFAULT_TIMEOUT_SECONDS = 2.0
DEFAULT_MAX_BYTES = 25 * 1024 * 1024  # clamd's own limit, unless it is set otherwise
DEFAULT_CONCURRENT = 8
SHORTEST_SECRET = 16  # characters
EVENTS, MEDIA, BOTH = "events", "media", "both"


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """Whom to ask, about what, and what follows."""

    name: str
    kind: str  # webhook, clamav
    target: str  # a webhook's URL; unix:/path or host:port of clamd
    secret: str = field(default="", repr=False)  # signs what a webhook is sent
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    fail_closed: bool = False
    applies_to: str = BOTH
    match: Mapping[str, Any] | None = None
    action: str = "reject"  # where the check cannot name one: a virus, or no answer
    message: str | None = None  # what the sender is told
    max_bytes: int = DEFAULT_MAX_BYTES  # of a file, for clamd
    concurrent: int = DEFAULT_CONCURRENT

    @classmethod
    def parse(cls, check: Mapping[str, Any], secret: str | None) -> CheckDefinition:
        """A check as it stands in the configuration, which has been checked.

        ``secret``: for webhooks that have none of their own.
        """
        kind = check["kind"]
        return cls(
            name=check["name"],
            kind=kind,
            target=check["url" if kind == WEBHOOK else "address"],
            secret=check.get("secret") or secret or "",
            timeout_seconds=check.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS),
            fail_closed=check.get("on_failure") == "closed",
            applies_to=MEDIA if kind == CLAMAV else check.get("applies_to", BOTH),
            match=check.get("match"),
            action=check.get("action", "reject"),
            message=check.get("message"),
            max_bytes=check.get("max_bytes", DEFAULT_MAX_BYTES),
            concurrent=check.get("max_concurrent", DEFAULT_CONCURRENT),
        )

    @property
    def for_events(self) -> bool:
        """Whether it is asked about events."""
        return self.applies_to in (EVENTS, BOTH)

    @property
    def for_media(self) -> bool:
        """Whether it is asked about files."""
        return self.applies_to in (MEDIA, BOTH)


def check_problems(checks: Sequence[Mapping[str, Any]], secret: str | None) -> Iterator[str]:
    """What is wrong with ``policy.checks`` beyond what the schema tells, a line each."""
    names = [check["name"] for check in checks]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"policy.checks: found the name {name!r} twice; allowed: each name once"
    for check in checks:
        at = f"policy.checks {check['name']!r}"
        wanted = ("url", "address") if check["kind"] == WEBHOOK else ("address", "url")
        if wanted[0] not in check:
            yield f"{at}: {wanted[0]}: missing; a {check['kind']} needs it"
        if wanted[1] in check:
            yield f"{at}: {wanted[1]}: a {check['kind']} has none; it has {wanted[0]}"
        own = check.get("secret") or secret
        if check["kind"] == WEBHOOK and (own is None or len(own) < SHORTEST_SECRET):
            found = "missing" if own is None else "too short"
            yield (
                f"{at}: secret: {found}; set {SHORTEST_SECRET} characters or more here, or in"
                " policy.checks_secret for all"
            )
        if check["kind"] == CLAMAV and check.get("applies_to", MEDIA) != MEDIA:
            yield f"{at}: applies_to: found {check['applies_to']!r}; allowed for clamav: media"
