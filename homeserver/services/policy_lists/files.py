"""Lists as files: CSV with a header, as other servers export it.

Read are ``server|user|room`` lists (columns ``kind, entity, recommendation, reason``; one of the
kinds may also be a column's name) and Mastodon's domain blocks (``#domain, #severity,
#public_comment, ...``).  Written is the first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from homeserver.errors import InvalidParam
from homeserver.protocol.policy_rules import KINDS, SERVER, USER, make_rule
from homeserver.services.policy_lists.entries import ALLOW, BLOCK, FLAG, Key, Wanted
from homeserver.services.policy_lists.policy_list import PolicyList

MAX_ROWS = 100_000
COLUMNS = ("kind", "entity", "recommendation", "reason")
ENTITY_COLUMNS: Mapping[str, str | None] = {
    "entity": None,
    "domain": SERVER,
    "instance": SERVER,
    "host": SERVER,
    **{kind: kind for kind in KINDS},
}
REASON_COLUMNS = ("reason", "public_comment", "comment", "description")
# What lists of other programs call what is to be done; None: nothing.
ACTIONS: Mapping[str, str | None] = {
    "": BLOCK,
    "m.ban": BLOCK,
    "org.matrix.mjolnir.ban": BLOCK,
    "ban": BLOCK,
    "block": BLOCK,
    "deny": BLOCK,
    "suspend": BLOCK,
    "silence": FLAG,
    "limit": FLAG,
    "flag": FLAG,
    "allow": ALLOW,
    "noop": None,
    "none": None,
}


def read_list(text: str, *, allow: bool = False) -> dict[Key, Wanted]:
    """The entries of a CSV file; with ``allow``, all of them say whom no list may block.

    Raises: :class:`InvalidParam`, which names the line.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [_column(name) for name in next(reader)]
        entity_column = next((name for name in header if name in ENTITY_COLUMNS), None)
        if entity_column is None:
            raise InvalidParam(f"Line 1 names no column of {', '.join(ENTITY_COLUMNS)}")
        entries: dict[Key, Wanted] = {}
        for cells in reader:
            row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
            if not row.get(entity_column):
                continue
            try:
                wanted = _entry(row, entity_column, allow=allow)
            except ValueError as error:
                raise InvalidParam(f"Line {reader.line_num}: {error}") from error
            if wanted is not None:
                entries[wanted.rule.key] = wanted
            if len(entries) > MAX_ROWS:
                raise InvalidParam(f"A list has at most {MAX_ROWS} entries")
    except StopIteration:
        raise InvalidParam("The file is empty: its first line must name the columns") from None
    except csv.Error as error:
        raise InvalidParam(f"Line {reader.line_num} is not CSV: {error}") from error
    return entries


def _column(name: str) -> str:
    return name.strip().lstrip("#").strip().lower().replace(" ", "_")


def _entry(row: Mapping[str, str], entity_column: str, *, allow: bool) -> Wanted | None:
    """One row; None for one that asks for nothing.  Raises :class:`ValueError`."""
    entity = row[entity_column]
    kind = ENTITY_COLUMNS[entity_column] or row.get("kind") or row.get("type") or _guess(entity)
    if kind not in KINDS:
        raise ValueError(f"the kind '{kind[:40]}' is none of {', '.join(KINDS)}")
    said = (row.get("recommendation") or row.get("severity") or row.get("action") or "").lower()
    if said not in ACTIONS:
        raise ValueError(f"the recommendation '{said[:40]}' is none of {', '.join(ACTIONS)}")
    action = ALLOW if allow else ACTIONS[said]
    if action is None:
        return None
    reason = next((row[name] for name in REASON_COLUMNS if row.get(name)), "")
    rule = make_rule(kind, entity, reason)
    if rule is None:
        raise ValueError(f"'{entity[:40]}' can match nothing")
    return Wanted(rule, action)


def _guess(entity: str) -> str:
    return {"@": USER, "!": "room", "#": "room"}.get(entity[:1], SERVER)


def write_list(policy_list: PolicyList) -> str:
    """What of a list is in effect, as CSV that :func:`read_list` reads."""
    return write_rows(
        (entry.kind, entry.entity, policy_list.action_of(entry), entry.reason)
        for entry in sorted(policy_list.in_effect(), key=lambda entry: entry.key)
    )


def write_rows(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """Rows of kind, entity, action and reason as CSV."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for kind, entity, action, reason in rows:
        writer.writerow((kind, entity, "m.ban" if action == BLOCK else action, reason))
    return out.getvalue()
