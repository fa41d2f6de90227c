"""What tests that throw things at the server have in common."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from homeserver.logging import is_of_the_server

SECONDS = float(os.environ.get("COMITY_FUZZ_SECONDS", "0"))
"""How long to go on with what has not been tried; 0: the same short round each time."""
SEED = int(os.environ.get("COMITY_FUZZ_SEED", "1"))
STRANGE = ["a\0b", "\ud7ff", "../..", "%2e%2e", "@", "!:", "$", "x" * 5_000, "\u202e", "0", "-1"]


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


def try_examples(
    strategy: Any, work: Callable[[Any, random.Random], None], examples: int, number: int
) -> None:
    """Do ``work`` with so many examples, the same ones for the same ``number``."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, chance=st.randoms(use_true_random=False))
    def one(case: Any, chance: random.Random) -> None:
        work(case, chance)

    try:
        one()
    except Exception as error:
        if type(error).__name__ != "Unsatisfiable":  # nothing can be wrong with it
            raise
