"""The page that says which operations are answered is true."""

from __future__ import annotations

from .coverage import ALWAYS_REFUSED, PAGE, answered, page


def test_the_page_says_which_operations_are_answered() -> None:
    written = PAGE.read_text("utf-8")

    assert written == page(), "run: python -m tools.write_spec_coverage"


def test_what_is_always_refused_is_answered_at_all() -> None:
    assert set(ALWAYS_REFUSED) <= set(answered())
