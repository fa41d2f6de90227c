"""What is kept of previews, and for how long."""

from __future__ import annotations

import pytest

from homeserver.protocol.media_uris import MediaUri
from homeserver.services.url_previews.keeping import HOUR_MS, Bounds, PreviewCache
from homeserver.storage.database import Database
from homeserver.storage.url_previews import NewPreview

NOW = 10 * HOUR_MS


class NoFiles:
    """Pictures that nobody has."""

    async def delete_fetched(self, uri: MediaUri) -> None:
        """There is none."""


def full_after(database: Database, most: int) -> PreviewCache:
    """A cache for so many previews."""
    return PreviewCache(
        server_name="one.test",
        database=database,
        files=NoFiles(),
        bounds=Bounds(kept_ms=HOUR_MS, previews=most, bytes=1000),
        wake=lambda: None,
        clock_ms=lambda: NOW,
    )


async def keep(cache: PreviewCache, *fetched_at: int) -> None:
    """Previews, fetched then."""
    for at in fetched_at:
        await cache.keep(NewPreview(b"%d" % at, at, "site.test", "{}", None, 0))


async def work_off(cache: PreviewCache) -> None:
    """Do all that is due."""
    while await cache.step():
        pass


async def test_a_cache_that_was_emptied_by_others_is_not_full(database: Database) -> None:
    cache = full_after(database, 2)
    await work_off(cache)
    await keep(cache, NOW - 3, NOW - 2, NOW - 1)
    await database.execute("DELETE FROM url_previews")

    assert await cache.next_due() == 0
    await work_off(cache)

    assert await cache.next_due() == NOW + HOUR_MS


@pytest.mark.parametrize("ahead_ms", [0, 5, 2 * HOUR_MS])
async def test_what_was_kept_before_the_clock_was_set_back_goes_too(
    database: Database, ahead_ms: int
) -> None:
    cache = full_after(database, 2)
    await work_off(cache)
    await keep(cache, *(NOW + ahead_ms + n for n in range(4)))

    await work_off(cache)

    assert await cache.next_due() == NOW + HOUR_MS
    assert (await cache.totals()).previews == 2
