"""What becomes of a list's entries when the list changes, or the admin decides.  Pure.

==========  ===========  ==========================================
``wanted``  ``applied``  is
==========  ===========  ==========================================
yes         yes          in effect
yes         no           in the draft, as something to come; or declined
no          yes          in the draft, as something to go; or kept against the list
no          no           gone
==========  ===========  ==========================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from homeserver.protocol.policy_rules import PolicyRule, matches_everything
from homeserver.storage.policy_lists import EntryRow

Key = tuple[str, str]
Entries = Mapping[Key, EntryRow]

BLOCK, FLAG, ALLOW = "block", "flag", "allow"


class Wanted(Struct, frozen=True):
    """What a list says of an entity; ``action`` only where the entry itself names one."""

    rule: PolicyRule
    action: str | None = None


class Change(Struct, frozen=True):
    """Rows to write and keys to delete."""

    saved: Collection[EntryRow] = ()
    gone: Collection[Key] = ()

    def __bool__(self) -> bool:
        return bool(self.saved or self.gone)


def follow(entries: Entries, wanted: Mapping[Key, Wanted], *, at_once: bool, now_ms: int) -> Change:
    """What changes when a list says ``wanted``.

    ``at_once``: without the admin's word, but for globs that match everything: those wait for it
    in any case.
    """
    saved: list[EntryRow] = []
    gone: list[Key] = []
    for key, item in wanted.items():
        old = entries.get(key)
        new = _seen(old, item, now_ms)
        if at_once and new.in_draft and not matches_everything(new.entity):
            new = replace(new, applied=True)
        if new != old:
            saved.append(new)
    for key, old in entries.items():
        if key in wanted:
            continue
        if at_once or not old.applied:
            gone.append(key)
        elif old.wanted:
            saved.append(replace(old, wanted=False, declined=False, changed_at=now_ms))
    return Change(saved, gone)


def _seen(old: EntryRow | None, item: Wanted, now_ms: int) -> EntryRow:
    """An entry that the list has; a change of what is to be done with it must be approved anew."""
    rule = item.rule
    if old is None:
        return EntryRow(
            rule.kind, rule.entity, item.action, rule.reason, True, False, False, now_ms
        )
    if old.wanted and old.action == item.action:
        return replace(old, reason=rule.reason)
    return replace(
        old,
        action=item.action,
        reason=rule.reason,
        wanted=True,
        applied=old.applied and old.action == item.action,
        declined=False,
        changed_at=now_ms,
    )


def apply(entries: Iterable[EntryRow], *, now_ms: int) -> Change:
    """What changes when these, of the draft, come into effect."""
    drafted = [entry for entry in entries if entry.in_draft]
    return Change(
        [replace(entry, applied=True, changed_at=now_ms) for entry in drafted if entry.wanted],
        [entry.key for entry in drafted if not entry.wanted],
    )


def discard(entries: Iterable[EntryRow]) -> Change:
    """What changes when these, of the draft, are declined: all stays as it is in effect."""
    return Change([replace(entry, declined=True) for entry in entries if entry.in_draft])
