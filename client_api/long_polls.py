"""A request that waits for news, and ends at once when its caller is let in no longer."""

from __future__ import annotations

from functools import partial
from types import TracebackType

from aiohttp import web

from client_api.auth import require_user
from homeserver.app_keys import ACCOUNT_STANDING, LONG_POLLS
from homeserver.errors import UserLocked
from homeserver.services.long_polls import LongPoll
from homeserver.services.requester import Requester
from homeserver.web import has_hung_up


class Waiting:
    """A request that may wait, as long as the context lasts; it asks the value whether it is over.

    Raises at the end, for a caller who has been locked, deactivated or logged out meanwhile:
    :class:`UserLocked`, :class:`~homeserver.errors.UnknownToken`.
    """

    __slots__ = ("_poll", "_request")

    def __init__(self, request: web.Request, requester: Requester) -> None:
        self._request = request
        self._poll = LongPoll(
            requester, partial(require_user, request), partial(has_hung_up, request)
        )

    def __enter__(self) -> LongPoll:
        self._request.app[LONG_POLLS].begin(self._poll)
        return self._poll

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        app, poll = self._request.app, self._poll
        app[LONG_POLLS].end(poll)
        if kind is not None:
            return
        if poll.error is not None:
            raise poll.error
        if app[ACCOUNT_STANDING].is_locked(poll.requester.user_id):
            raise UserLocked()
