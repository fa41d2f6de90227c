"""How much waits for an e-mail pusher at most.

A mail shows few lines, and a user who is seldom written to can be notified of very much meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from homeserver.storage import push_mail as storage
from homeserver.storage.database import Connection

MOST_OF_A_THREAD = 20
MOST_WAITING = 1_000
TRIM_EVERY = 100
MOST_READ = MOST_WAITING + 2 * TRIM_EVERY


class MailBounds:
    """Counts what is queued for each pusher, and takes out what no mail would show."""

    def __init__(self) -> None:
        self._added: Counter[int] = Counter()

    async def added(self, connection: Connection, pusher_ids: Iterable[int]) -> None:
        """Something was queued for these, in the connection's transaction: each once for each."""
        self._added.update(pusher_ids)
        full = [pusher_id for pusher_id, count in self._added.items() if count >= TRIM_EVERY]
        if full:
            await storage.trim(
                connection, full, of_thread=MOST_OF_A_THREAD, altogether=MOST_WAITING
            )
            for pusher_id in full:
                del self._added[pusher_id]
