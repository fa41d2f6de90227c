"""A request that waits for news, and ends at once when its caller is let in no longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from client_api.auth import require_user
from homeserver.app_keys import ACCOUNT_STANDING, LONG_POLLS
from homeserver.errors import UserLocked
from homeserver.services.long_polls import LongPoll
from homeserver.services.requester import Requester


@contextmanager
def waiting(request: web.Request, requester: Requester) -> Iterator[LongPoll]:
    """A request that may wait, as long as the context lasts; it asks the yielded value whether it
    is over.

    Raises at the end, for a caller who has been locked, deactivated or logged out meanwhile:
    :class:`UserLocked`, :class:`~homeserver.errors.UnknownToken`.
    """

    def has_hung_up() -> bool:
        return request.transport is None or request.transport.is_closing()

    polls = request.app[LONG_POLLS]
    poll = polls.begin(requester, lambda: require_user(request), has_hung_up)
    try:
        yield poll
    finally:
        polls.end(poll)
    poll.require_good()
    if request.app[ACCOUNT_STANDING].is_locked(requester.user_id):
        raise UserLocked()
