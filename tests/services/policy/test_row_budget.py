"""Rows of the audit trail that one instance may cause."""

from __future__ import annotations

from msgspec.structs import replace

from homeserver.services.policy.row_budget import ROWS, ROWS_OF_CONTENT, RowBudget
from homeserver.storage.policy import VerdictRow

ROW = VerdictRow(
    created_at=1_000_000,
    stage="consent",
    rule="invite",
    action="reject",
    direction="in",
    origin="evil.example",
    room_id="!r:evil.example",
    event_id=None,
    event_type="m.room.member",
    sender="@m:evil.example",
    reason="Too many requests",
)


def written(budget: RowBudget, row: VerdictRow, times: int) -> int:
    return sum(budget.admits(row) for _ in range(times))


def test_of_what_one_instance_causes_a_few_rows_are_written_and_the_rest_is_counted():
    budget = RowBudget()

    assert written(budget, ROW, 1_000) == ROWS
    (summary,) = budget.summaries(2_000_000)

    assert summary.reason == f"{1_000 - ROWS} more like this: Too many requests"
    assert (summary.origin, summary.sender, summary.room_id) == ("evil.example", None, None)
    assert summary.created_at == 2_000_000
    assert budget.summaries(3_000_000) == []


def test_others_are_not_kept_from_the_trail():
    budget = RowBudget()
    written(budget, ROW, 1_000)

    assert budget.admits(replace(ROW, origin="good.example"))
    assert budget.admits(replace(ROW, rule="another"))
    assert budget.admits(replace(ROW, created_at=ROW.created_at + 600_000))


def test_what_rules_say_of_events_has_more_room_and_our_own_users_are_not_counted():
    budget = RowBudget()

    of_events = written(budget, replace(ROW, stage="content"), 2 * ROWS_OF_CONTENT)
    of_ours = written(budget, replace(ROW, direction="local"), 2_000)

    assert (of_events, of_ours) == (ROWS_OF_CONTENT, 2_000)
