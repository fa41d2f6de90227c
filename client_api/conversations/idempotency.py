"""POSTs that are tried again: the same idempotency key gives the same answer, and does it once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from client_api.conversations.answers import problem_answer
from client_api.conversations.keys import IDEMPOTENCY
from homeserver.errors import MatrixError
from homeserver.services.conversations.idempotency import (
    Answer,
    Fresh,
    InProgress,
    Mismatch,
    Replay,
    fingerprint,
)
from homeserver.services.conversations.problems import Problem
from homeserver.web import read_body

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
TOO_MANY = 429


async def once(
    request: web.Request,
    owner: str,
    key: str,
    answer: Callable[[], Awaitable[web.StreamResponse]],
    *,
    content: bytes | None = None,
) -> web.StreamResponse:
    """Answer a request, or tell what it was answered before under this key.

    ``content`` stands for a body that was read already: its hash.
    Refusals are kept as answers are; failures of the server, and limits of rates, are not.
    Raises: :class:`Problem` ``idempotency_mismatch``, ``in_progress``; what ``answer`` raises.
    """
    store = request.app[IDEMPOTENCY]
    body = await read_body(request) if content is None else content
    asked = fingerprint(request.method, request.path_qs, body)
    outcome = await store.begin(owner, key, asked)
    if isinstance(outcome, Replay):
        return _replayed(outcome.answer)
    if isinstance(outcome, Mismatch):
        raise Problem(
            "idempotency_mismatch",
            f"This {IDEMPOTENCY_KEY} was used for another request: make a new one",
            status=422,
        )
    if isinstance(outcome, InProgress):
        raise Problem(
            "in_progress",
            "The same request is being worked on: ask again later",
            status=409,
            retry_after_ms=outcome.retry_after_ms,
        )
    return await _attempt(request, outcome, answer)


async def _attempt(
    request: web.Request, attempt: Fresh, answer: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    store = request.app[IDEMPOTENCY]
    try:
        response = await answer()
    except MatrixError as error:
        if error.status >= 500 or error.status == TOO_MANY:
            await store.give_up(attempt)
            raise
        response = problem_answer(error)
    except BaseException:
        await store.give_up(attempt)
        raise
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: response.headers[hdrs.CONTENT_TYPE]}
        if hdrs.LOCATION in response.headers:
            headers[hdrs.LOCATION] = response.headers[hdrs.LOCATION]
        await store.finish(attempt, Answer(response.status, response.body, headers))
    else:
        await store.give_up(attempt)
    return response


def _replayed(answer: Answer) -> web.Response:
    headers = {**answer.headers, REPLAYED: "true"}
    return web.Response(body=answer.body, status=answer.status, headers=headers)
