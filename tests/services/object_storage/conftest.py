"""A storage for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.services.object_storage.bucket import BucketSettings

from .servers import NAMES, ObjectStorage, running


@pytest.fixture(scope="session", params=NAMES)
def storage(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """One that runs."""
    directory: Path = tmp_path_factory.mktemp("buckets")
    with running(request.param, directory) as found:
        yield found


@pytest.fixture
def settings(storage: ObjectStorage) -> BucketSettings:
    """An empty bucket."""
    return storage.new_bucket()
