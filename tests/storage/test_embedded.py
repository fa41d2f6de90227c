"""The embedded PostgreSQL where its user may not go."""

import os
from pathlib import Path

import asyncpg
import pytest

from homeserver.storage.embedded import EmbeddedError, EmbeddedPostgres

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as somebody else")


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory of root's that nobody else may enter, as ``/root`` is."""
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o700)
    return directory


async def test_it_runs_below_a_directory_that_is_closed_to_its_user(closed: Path):
    embedded = EmbeddedPostgres(closed / "data" / "postgres")

    dsn = await embedded.start()
    connection = await asyncpg.connect(dsn)
    answer = await connection.fetchval("SELECT 1")
    await connection.close()
    runs_as = os.stat(f"/proc/{embedded.running_pid()}").st_uid
    await embedded.stop()

    assert answer == 1
    assert runs_as != 0
    assert embedded.running_pid() is None


async def test_where_it_cannot_pass_the_directory_is_named(
    closed: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(closed))  # there is no setpriv

    with pytest.raises(EmbeddedError, match="cannot enter"):
        await EmbeddedPostgres(closed / "data" / "postgres").start()
