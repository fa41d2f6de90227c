"""The report of the contract: which operations were exercised, and their answers validated."""

from __future__ import annotations

import pytest

from client_api.conversations.api import PREFIX
from client_api.conversations.rest import ALL
from homeserver.metrics import REQUESTS

from .contract import contract

WHOLE = 500  # so many tests of this directory are there when all of it is run


def answered() -> set[tuple[str, str]]:
    """Method and route of every request that was answered well in this process.

    499: the caller had what it wanted, and hung up before the answer's last byte was accounted for.
    """
    return {
        (sample.labels["method"], sample.labels["route"])
        for metric in REQUESTS.collect()
        for sample in metric.samples
        if sample.labels["status"] < "400" or sample.labels["status"] == "499"
    }


def test_every_operation_was_exercised_and_its_answer_validated(
    request: pytest.FixtureRequest,
) -> None:
    """What answers with JSON was validated, too; the rest are files, pages and handshakes."""
    here = [item for item in request.session.items if "tests/conversations/" in item.nodeid]
    if len(here) < WHOLE:
        pytest.skip("says something only after all tests of this directory")
    operations = [operation for api in ALL for operation in api.operations]
    well = answered()
    exercised = {
        operation.name
        for operation in operations
        if (operation.method, PREFIX + operation.path) in well
    }
    validated = contract().exercised

    print(f"{len(operations)} operations, {len(exercised)} exercised, {len(validated)} validated")
    assert sorted({o.name for o in operations} - exercised) == []
    assert sorted({o.name for o in operations if o.media_type is None} - validated) == []
