"""Clients' transaction IDs that were seen lately.  Spec: client-server API, transaction IDs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from msgspec.structs import replace

from homeserver.services.unharmed import unharmed
from homeserver.storage.event_records import ClientTransaction

if TYPE_CHECKING:
    from homeserver.services.rooms import Sent

RECENT_TRANSACTIONS = 10_000


class RecentTransactions:
    """Clients' transactions that this process has in hand or has seen lately.

    A client that sends one again gets the first answer without a look into the database, where the
    older ones are (a unique index makes sure that each has one event, whatever process it reached).
    """

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[str, str, str, str], asyncio.Task[Sent]] = OrderedDict()

    async def once(
        self, transaction: ClientTransaction, send: Callable[[], Coroutine[None, None, Sent]]
    ) -> Sent:
        """Run ``send``, or wait for the run that is under way or over; failures are forgotten."""
        key = (
            transaction.user_id,
            transaction.device_id,
            transaction.path,
            transaction.txn_id,
        )
        task = self._tasks.get(key)
        repeated = task is not None
        if task is None:
            task = asyncio.create_task(send())
            self._tasks[key] = task
            if len(self._tasks) > RECENT_TRANSACTIONS:
                self._tasks.popitem(last=False)
        try:
            sent = await unharmed(task)
            return replace(sent, repeated=True) if repeated else sent
        except BaseException:
            if task.done():
                self._tasks.pop(key, None)
            raise
