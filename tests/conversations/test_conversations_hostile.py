"""What nobody meant to be sent, and what other servers may send, breaks nothing."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from homeserver.services.conversations.shapes.pages import make_cursor
from tests.conversations.conftest import ApiUser
from tests.conversations.matrix import make_room
from tests.conversations.test_groups import make_group, path

STRANGE = ["%00", "%ed%a0%80", "a" * 300, "%2f..%2f..", "!x%00:one.test", "%23x%00:one.test"]


@pytest.mark.parametrize("text", STRANGE)
async def test_strange_ids_are_not_found(alice: ApiUser, text: str) -> None:
    for method, end, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("PATCH", "/settings", {"muted": True}),
        ("DELETE", "", None),
        ("POST", "/accept", {}),
        ("POST", "/join", {}),
        ("POST", "/ask", {}),
        ("GET", "/members", None),
        ("GET", "/members/bob@one.test", None),
    ):
        status = 400 if "%00" in text else 404
        await alice.call(method, f"/conversations/{text}{end}", body, status=status)


@pytest.mark.parametrize(
    "cursor",
    ["x", make_cursor("a\0"), make_cursor(2**63), make_cursor(1, "\0"), make_cursor(-(2**63), "x")],
)
async def test_strange_cursors_are_refused_or_lead_nowhere(alice: ApiUser, cursor: str) -> None:
    made = await make_group(alice)

    for list_path in ("/conversations", f"{path(made)}/members"):
        async with alice.instance.client.get(
            f"/api/v1{list_path}?cursor={quote(cursor)}",
            headers={"Authorization": f"Bearer {alice.token}"},
        ) as response:
            assert response.status in (200, 400)


async def test_members_names_may_be_anything(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_room(alice)
    content: dict[str, Any] = {"membership": "join", "displayname": "a\0b", "x": "\0"}
    await alice.matrix("PUT", f"/rooms/{made}/state/m.room.member/{alice.user_id}", content)

    for query in ("", "?query=alice", "?query=a", "?role=owner"):
        members = (await alice.get(f"{path(made)}/members{query}"))["items"]
        assert [m["person"]["address"] for m in members] == [alice.address]
    assert (await alice.get(path(made)))["member_count"] == 1


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("m.room.name", {"name": 5}),
        ("m.room.name", {"name": "a\0b"}),
        ("m.room.topic", {"topic": ["x"]}),
        ("m.room.avatar", {"url": {"a": 1}}),
        ("m.room.avatar", {"url": "mxc://../x"}),
        ("m.room.join_rules", {"join_rule": "private"}),
        ("m.room.encryption", {}),
    ],
)
async def test_state_may_be_anything(alice: ApiUser, kind: str, content: Any) -> None:
    made = await make_room(alice)
    await alice.matrix("PUT", f"/rooms/{made}/state/{kind}/", content)

    shown = await alice.get(path(made))

    assert shown["my_role"] == "owner"
    assert [item["id"] for item in (await alice.get("/conversations?query=x"))["items"]] == []


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a\0b"},
        {"description": "\0"},
        {"members": ["@x\0:one.test"]},
        {"avatar": "\0"},
        {"name": "x" * 256},
        {"description": "é" * 4_000},
        {"members": ["bob@one.test"] * 1_501},
    ],
)
async def test_strange_groups_are_made_or_refused(alice: ApiUser, body: Any) -> None:
    async with alice.instance.client.post(
        "/api/v1/conversations", json=body, headers={"Authorization": f"Bearer {alice.token}"}
    ) as response:
        answer = await response.json()

        assert response.status in (201, 400, 422)
        if response.status == 201:
            assert (await alice.get(path(answer["id"])))["state"] == "active"


@pytest.mark.parametrize("muted", ["", "x", 5, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
async def test_strange_times_are_refused_or_taken(alice: ApiUser, muted: Any) -> None:
    made = await make_group(alice)

    async with alice.instance.client.patch(
        f"/api/v1{path(made)}/settings",
        json={"muted": muted},
        headers={"Authorization": f"Bearer {alice.token}"},
    ) as response:
        assert response.status in (200, 400, 422)
