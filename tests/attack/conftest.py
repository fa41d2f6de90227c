"""The servers under attack, and who attacks them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.harness import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A network and a PostgreSQL for all tests here."""
    with World(keep=bool(os.environ.get("COMITY_KEEP_WORLD"))) as world:
        yield world
