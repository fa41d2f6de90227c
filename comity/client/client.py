"""Calls: tried again where that is safe, with the same idempotency key."""

from __future__ import annotations

import asyncio
import random
import uuid
from types import TracebackType
from typing import Any, Self

import aiohttp

from comity.client.errors import ConnectionFailed, Problem
from comity.client.operations import Operations
from comity.client.shapes import NewMessage, Sent, Session
from comity.client.updates import Updates

PREFIX = "/api/v1"
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
TRY_AGAIN = {429, 502, 503, 504}
TIMEOUT = aiohttp.ClientTimeout(total=60)


class Client(Operations):
    """Somebody's, or an application's, calls of one instance.

    ``token``: an access token, or an application's; ``acting_as``: the user for whom an
    application acts.  Use it as a context manager, or close it.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        acting_as: str | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self.acting_as = acting_as
        self._session = session
        self._owns_session = session is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------ what most need

    async def sign_in(self, user: str, password: str) -> Session:
        """Sign in; calls that follow are the user's."""
        session = await self.create_session({"user": user, "password": password})
        self.token = session["access_token"]
        return session

    async def send(self, to: str, text: str, *, key: str | None = None, **more: Any) -> Sent:
        """Send a text to a person (an address) or a conversation (its ID).

        ``more``: other fields of a new message.  The same ``key`` again sends nothing.
        """
        message: dict[str, Any] = {"text": text, **more}
        message["conversation_id" if to.startswith("!") else "to"] = to
        made: Any = message
        body: NewMessage = made
        return await self.send_message(body, key=key)

    def updates(self, since: int | None = None) -> Updates:
        """What happens, from a position on or from now, across lost connections.

        Raises :class:`~comity.client.errors.Reset` while it runs, if the server no longer has it.
        """
        return Updates(self, since)

    # ------------------------------------------------------------ calls

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        return self._session

    def headers(self) -> dict[str, str]:
        """The headers by which the server knows who calls."""
        headers = {}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.acting_as is not None:
            headers["Comity-User"] = self.acting_as
        return headers

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: dict[str, object] | None = None,
        key: str | None = None,
    ) -> Any:
        """One call; the answer's JSON.  ``path`` follows ``/api/v1``.

        POSTs bear an idempotency key, so that all calls can be tried again without doing things
        twice.  Raises: :class:`Problem`, :class:`ConnectionFailed`.
        """
        headers = self.headers()
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self.session.request(
                    method,
                    self.base_url + PREFIX + path,
                    json=body,
                    params=_query(query),
                    headers=headers,
                ) as response:
                    answer = (
                        await response.json(content_type=None) if response.status != 204 else None
                    )
                    if response.status < 400:
                        return answer
                    problem = Problem(answer or {}, response.status)
                    if not _may_try_again(problem) or attempt == ATTEMPTS:
                        raise problem
                    pause = max(pause, problem.extra.get("retry_after_ms", 0) / 1000)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                if attempt == ATTEMPTS:
                    raise ConnectionFailed(f"{self.base_url} cannot be reached") from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise AssertionError("the last attempt returns or raises")


def _may_try_again(problem: Problem) -> bool:
    return problem.status in TRY_AGAIN or problem.code == "in_progress"


def _query(query: dict[str, object] | None) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, _text(one)) for one in values if one is not None]
    return pairs


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
