"""What tests that throw things at the server have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from homeserver.logging import is_of_the_server

SECONDS = float(os.environ.get("COMITY_FUZZ_SECONDS", "0"))
"""How long to go on with what has not been tried; 0: the same short round each time."""
SEED = int(os.environ.get("COMITY_FUZZ_SEED", "1"))


@contextmanager
def watched_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if something is logged as an error meanwhile: a traceback is a defect."""
    before = len(caplog.records)
    with capture_logs(processors=[format_exc_info]) as entries:
        yield
    errors = [entry for entry in entries if entry["log_level"] in ("error", "critical")]
    others = [
        record.getMessage()
        for record in caplog.records[before:]
        if record.levelname in ("ERROR", "CRITICAL") and is_of_the_server(record)
    ]
    assert not errors + others, repr(errors[:2] + others[:2])[:9_000]
