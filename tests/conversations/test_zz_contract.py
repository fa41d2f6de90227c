"""The report of the contract: which operations were exercised, and their answers validated."""

from __future__ import annotations

import pytest

from .contract import contract

WHOLE = 500  # so many tests of this directory are there when all of it is run


def test_every_operation_was_exercised_and_its_answer_validated(
    request: pytest.FixtureRequest,
) -> None:
    here = [item for item in request.session.items if "tests/conversations/" in item.nodeid]
    if len(here) < WHOLE:
        pytest.skip("says something only after all tests of this directory")
    described = {
        operation["operationId"]
        for entry in contract().document["paths"].values()
        for operation in entry.values()
    }

    missing = described - contract().exercised

    print(f"{len(described) - len(missing)} of {len(described)} operations exercised")
    assert not missing, sorted(missing)
