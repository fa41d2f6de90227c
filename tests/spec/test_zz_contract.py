"""After all other tests: what the server answers was exercised, and its answers validated.

(``tests/conftest.py`` puts this last, whatever the order of the others.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .contract import contract
from .coverage import missing, report

TESTS = Path(__file__).parent.parent
WHOLE = ("client_api", "integration")
"""The directories whose tests exercise everything, by themselves; others run in other processes."""


def why_not_all(session: pytest.Session) -> str:
    """Why this run is not of all tests; empty if it is."""
    there = {path for name in WHOLE for path in (TESTS / name).rglob("test_*.py")}
    if left_out := there - {item.path for item in session.items}:
        return f"{len(left_out)} files of tests were not run"
    options = session.config.option
    by_name = any("::" in argument for argument in options.file_or_dir)
    if by_name or options.keyword or options.markexpr or options.deselect:
        return "some tests were left out"
    return "some tests failed" if session.testsfailed else ""


def test_everything_that_is_answered_was_exercised_and_validated(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := why_not_all(request.session):
        pytest.skip(reason)

    with capsys.disabled():
        print("\n" + report(contract().validated))

    silent, unwell = missing(contract().validated)
    assert silent == []
    assert unwell == []
