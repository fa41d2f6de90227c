"""Asking a policy server, and what it may answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

import federation.policy_server
from federation.policy_server import PolicyServerClient
from homeserver.errors import LimitExceeded, MatrixError

SIGNATURES = {"peer.test": {"ed25519:policy_server": "c2lnbmVk"}}


def answering(status: int, body: Any) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return answer


async def test_it_is_shown_the_event_without_what_is_unsigned(net, node):
    peer = await net.peer()
    peer.answers["/"] = answering(200, SIGNATURES)
    client = PolicyServerClient(node.client)

    answer = await client.sign(peer.server_name, {"type": "x", "unsigned": {"age": 5}})

    assert answer == SIGNATURES
    assert peer.bodies == [{"type": "x"}]
    assert peer.requests[0].path == "/_matrix/policy/v1/sign"
    assert peer.requests[0].method == "POST"


@pytest.mark.parametrize(
    ("status", "errcode"), [(400, "M_FORBIDDEN"), (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]
)
async def test_a_refusal_is_passed_on_word_for_word(net, node, status, errcode):
    peer = await net.peer()
    peer.answers["/"] = answering(status, {"errcode": errcode, "error": "Spam, it seems"})

    with pytest.raises(MatrixError) as caught:
        await PolicyServerClient(node.client).sign(peer.server_name, {})

    assert (caught.value.status, caught.value.errcode) == (status, errcode)
    assert caught.value.text == "Spam, it seems"


async def test_one_that_is_busy_says_when_to_come_back(net, node):
    peer = await net.peer()
    body = {"errcode": "M_LIMIT_EXCEEDED", "error": "Slowly", "retry_after_ms": 1500}
    peer.answers["/"] = answering(429, body)

    with pytest.raises(LimitExceeded) as caught:
        await PolicyServerClient(node.client).sign(peer.server_name, {})

    assert caught.value.extra["retry_after_ms"] == 1500


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"errcode": "M_UNKNOWN_TOKEN", "error": "?"}),
        (404, {"errcode": "M_UNRECOGNIZED", "error": "?"}),
        (500, {"errcode": "M_UNKNOWN", "error": "?"}),
        (200, ["no object"]),
        (302, {}),
    ],
)
async def test_what_does_not_answer_as_one_is_named(net, node, status, body):
    peer = await net.peer()
    peer.answers["/"] = answering(status, body)

    with pytest.raises(MatrixError) as caught:
        await PolicyServerClient(node.client).sign(peer.server_name, {})

    assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")
    assert peer.server_name in caught.value.text


async def test_one_that_never_answers_is_not_waited_for(net, node, monkeypatch):
    monkeypatch.setattr(federation.policy_server, "DEADLINE_SECONDS", 0.2)
    peer = await net.peer()
    over = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    peer.answers["/"] = never

    with pytest.raises(MatrixError, match="in time") as caught:
        await PolicyServerClient(node.client).sign(peer.server_name, {})

    over.set()
    assert caught.value.errcode == "M_FORBIDDEN"


async def test_the_same_event_is_shown_once_at_a_time(net, node):
    peer = await net.peer()
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await release.wait()
        return web.json_response(SIGNATURES)

    peer.answers["/"] = answer
    client = PolicyServerClient(node.client)
    asked = [asyncio.create_task(client.sign(peer.server_name, {"n": n})) for n in (1, 1, 1, 2)]
    async with asyncio.timeout(30):
        while len(peer.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    release.set()

    assert await asyncio.gather(*asked) == [SIGNATURES] * 4
    assert sorted(body["n"] for body in peer.bodies) == [1, 2]
