"""Whatever callers send, they get a problem, never a failure of the server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from yarl import URL

from homeserver.services.conversations.shapes.pages import make_cursor
from tests.conversations.conftest import ApiUser
from tests.conversations.messages import POLL, a_group, say

STRANGE = ["%00", "x%00y", "%F0%9F%98%80", "!" + "a" * 3000, "..%2F..", "%ED%A0%80", "%FF", "$x"]
HUGE = 2**80


@pytest.mark.parametrize("strange", STRANGE)
async def test_strange_names_in_paths_are_not_found(alice: ApiUser, strange: str) -> None:
    room_id = await a_group(alice)
    message_id = await say(alice, room_id, "x")
    for path in (f"{strange}/messages/{message_id}", f"{room_id}/messages/{strange}"):
        for method, tail, body in (
            ("GET", "", None),
            ("GET", "/edits", None),
            ("GET", "/reactions", None),
            ("GET", "/votes", None),
            ("GET", "/answers", None),
            ("PATCH", "", {"text": "y"}),
            ("DELETE", "", None),
            ("DELETE", "?for=me", None),
            ("PUT", "/reactions/x", None),
            ("DELETE", "/reactions/x", None),
            ("PUT", "/vote", {"choices": []}),
            ("POST", "/close", None),
            ("PUT", "/answer", {"answer": "yes"}),
            ("POST", "/forward", {"to": [alice.address]}),
        ):
            assert await status(alice, method, f"/conversations/{path}{tail}", body) in (
                400,
                404,
            ), (method, path, tail)
    for method, tail in (("GET", "messages"), ("POST", "read"), ("POST", "unread")):
        assert await status(alice, method, f"/conversations/{strange}/{tail}") in (400, 404)


@pytest.mark.parametrize("strange", STRANGE)
async def test_strange_reactions_and_filters_are_problems_or_fine(
    alice: ApiUser, strange: str
) -> None:
    room_id = await a_group(alice)
    messages = f"/conversations/{room_id}/messages"
    path = f"{messages}/{await say(alice, room_id, 'x')}"

    for method, tail in (("PUT", ""), ("DELETE", "")):
        assert await status(alice, method, f"{path}/reactions/{strange}{tail}") < 500
    for query in ("around", "thread", "cursor", "limit", "system"):
        assert await status(alice, "GET", f"{messages}?{query}={strange}") < 500
    assert await status(alice, "GET", f"{path}/reactions?key={strange}") < 500


@pytest.mark.parametrize(
    "parts",
    [
        ("b", HUGE),
        ("f", -HUGE),
        ("b", 2**63),
        ("f", 2**63 - 1),
        ("b", -(2**63)),
        (2**63, "x"),
        (2**63,),
        ("x", 1),
        ("b", "1"),
        (HUGE,),
        (1, "\0"),
        ("\0",),
        (HUGE, "x"),
        (),
        ([],),
    ],
)
async def test_strange_cursors_are_refused(alice: ApiUser, parts: tuple[Any, ...]) -> None:
    room_id = await a_group(alice)
    messages = f"/conversations/{room_id}/messages"
    poll = await alice.post(messages, POLL, status=201)
    path = f"{messages}/{poll['message']['id']}"
    try:
        cursor = make_cursor(*parts)
    except TypeError:  # the encoder knows no such numbers; a caller's may
        cursor = encoded(parts)

    for where in (messages, f"{path}/edits", f"{path}/reactions", f"{path}/votes"):
        assert await status(alice, "GET", f"{where}?cursor={cursor}") in (200, 400), where


@pytest.mark.parametrize(
    "body",
    [
        {"text": "a\0b"},
        {"text": "x", "client_id": "\0"},
        {"text": "x", "client_id": "\x7f" * 255},
        {"text": "x", "reply_to": "$\0"},
        {"text": "x", "thread": "$\0"},
        {"text": "x", "custom": {"\0": "\0", "n": 1.5, "big": 2**63}},
        {"text": "x", "custom": {"deep": [[[[[[]]]]]]}},
        {"text": "x", "mentions": [{"person": "a\0@b.c"}]},
        {"text": "x" * 40_000},
        {"text": "é" * 39_000},
        {"kind": "image", "media_id": "one.test~\0"},
        {"kind": "image", "media_id": "one.test~nothing"},
        {"kind": "image", "media_id": "a" * 255},
        {"kind": "location", "location": {"latitude": 1e-300, "longitude": -0.0}},
        {"kind": "event", "event": {"title": "\0", "starts_at": "9999-12-31T23:59:59Z"}},
        {"kind": "poll", "poll": {"question": "?", "choices": [{"id": "\0", "text": "x"}]}},
        {"kind": "encrypted", "encrypted": {"algorithm": "\0", "\0": []}},
        {"kind": "contact", "contact": {"name": "\0", "phones": ["\0"]}},
        {"to": "\0@one.test", "text": "x"},
        {"to": "a" * 255, "text": "x"},
        {"to": "nobody@nowhere.invalid", "text": "x"},
        {"text": "[" * 9_000, "format": "markdown"},
        {"text": "<b>" * 9_000, "format": "html"},
        {"conversation_id": "\0", "text": "x"},
    ],
)
async def test_strange_messages_are_problems_or_sent(alice: ApiUser, body: dict[str, Any]) -> None:
    room_id = await a_group(alice)
    where = {} if body.keys() & {"to", "conversation_id"} else {"conversation_id": room_id}

    sent = await status(alice, "POST", "/messages", {**where, **body})
    read = await status(alice, "GET", f"/conversations/{room_id}/messages")

    assert sent in (201, 400, 403, 404, 413, 422, 502), sent
    assert read == 200


async def test_a_vote_for_a_strange_choice_counts(alice: ApiUser) -> None:
    room_id = await a_group(alice)
    poll = {"question": "?", "choices": [{"id": "\0", "text": "x"}, {"id": '"', "text": "y"}]}
    sent = await alice.post(
        f"/conversations/{room_id}/messages", {"kind": "poll", "poll": poll}, status=201
    )
    path = f"/conversations/{room_id}/messages/{sent['message']['id']}"

    for choice in ("\0", '"'):
        voted = await alice.call("PUT", f"{path}/vote", {"choices": [choice]})
        assert voted["poll"]["mine"] == [choice]


async def test_lone_surrogates_are_no_json(alice: ApiUser) -> None:
    room_id = await a_group(alice)

    for raw in (
        rb'{"text": "\ud800"}',
        rb'{"text": "x", "custom": {"\udc00": 1}}',
        b'{"text": "\xff"}',
    ):
        headers = {"Authorization": f"Bearer {alice.token}"}
        url = f"/api/v1/conversations/{room_id}/messages"
        async with alice.instance.client.post(url, data=raw, headers=headers) as response:
            assert response.status in (400, 422), await response.text()


async def status(user: ApiUser, method: str, path: str, body: Any = None) -> int:
    """The status of a call, whose path is sent as it stands."""
    base = str(user.instance.client.make_url("/")).rstrip("/")
    url = URL(f"{base}/api/v1{path}", encoded=True)
    headers = {"Authorization": f"Bearer {user.token}"}
    async with user.instance.client.session.request(
        method, url, json=body, headers=headers
    ) as response:
        if response.status >= 500 and response.status != 502:
            raise AssertionError(f"{method} {path[:100]} {body}: {await response.text()}")
        return response.status


def encoded(parts: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()
