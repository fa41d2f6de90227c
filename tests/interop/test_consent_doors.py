"""Every door at which consent is asked, for a peer here, on another Comity, and on a Synapse.

The table in ``docs/consent-and-policy.md`` names these tests: the door is the test, the column its
parameter.  The owner is always on a Comity; the stranger is on the same, on another, or on a
Synapse, and has a stock client.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from tests.harness import MatrixRefused, RawClient, World, eventually, raw_session
from tests.harness.identity_server import TOKEN, IdentityServer
from tests.interop.consent_door import PEERS, Door, _ours, _serial

from .conftest import Stage


@pytest_asyncio.fixture(loop_scope="session", params=PEERS)
async def door(stage: Stage, request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """An owner and a stranger who have never met."""
    pair = await stage.pair(PEERS[request.param])
    ours, theirs = pair.servers
    async with raw_session() as session:
        owner = RawClient(session, ours.client_url)
        where = ours if request.param == "local" else theirs
        stranger = RawClient(session, where.client_url)
        await owner.register(f"owner{next(_serial)}")
        await stranger.register(f"stranger{next(_serial)}")
        yield Door(request.param, owner, stranger)


# ---------------------------------------------------------------- invites


async def test_room_creation_with_invites(door: Door) -> None:
    """Closed: refused, and nothing is shown.  Ask: a request, shown once."""
    await door.answer("message", "closed")
    with pytest.raises(MatrixRefused) as refusal:
        await door.ask()
    assert refusal.value.status == 403
    if door.peer != "synapse":
        assert refusal.value.errcode == "M_INVITE_BLOCKED"
    assert await door.invites() == []

    await door.answer("message", "ask")
    rooms = [await door.ask() for _ in range(3)]

    (request,) = await door.requests()
    assert (request["sender"], request["attempts"]) == (door.stranger.user_id, 3)
    assert await door.invites() == rooms[:1]


async def test_invite_to_a_group(door: Door) -> None:
    """The scope "group" decides, by itself."""
    await door.answer("group", "closed")
    room_id = await door.stranger.create_room(name="Buy here")
    with pytest.raises(MatrixRefused) as refusal:
        await door.stranger.invite(room_id, door.owner.user_id)
    assert refusal.value.status == 403

    await door.answer("group", "ask")
    await door.stranger.invite(room_id, door.owner.user_id)

    (request,) = await door.requests()
    assert request["scope"] == "group"
    shown = (await door.sync())["rooms"]["invite"][room_id]
    assert "Buy here" not in json.dumps(shown)


@pytest.mark.parametrize("answer", ["accept", "decline", "block"])
async def test_a_request_is_answered(door: Door, answer: str) -> None:
    """Accepted, the chat begins; declined, the invite is gone on both sides; blocked, here only."""
    await door.answer("message", "ask")
    room_id = await door.ask()
    body = {"answer": answer, "sender": door.stranger.user_id}
    await door.ours("POST", "/requests/answer", body)

    if answer == "accept":
        await door.owner.join(room_id)
        await door.stranger.send(room_id, "thank you")
        await eventually(lambda: _reads(door, room_id, "thank you"), "the first message")
        return
    assert await door.invites() == []
    with pytest.raises(MatrixRefused):
        await door.ask()
    if answer == "decline":
        await eventually(lambda: _has_left(door, room_id), "the refusal")


async def _reads(door: Door, room_id: str, text: str) -> bool:
    return text in await door.types_and_texts(room_id)


async def _has_left(door: Door, room_id: str) -> bool:
    state = await door.stranger.call("GET", "rooms", room_id, "members")
    members = {e["state_key"]: e["content"]["membership"] for e in state["chunk"]}
    return members.get(door.owner.user_id) == "leave"


async def test_knock(door: Door) -> None:
    """Nobody hears the knock of somebody whom all have blocked."""
    rules = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    room_id = await door.owner.create_room(initial_state=rules)
    via = {"via": door.owner.user_id.partition(":")[2]}
    await door.deny("message")

    with pytest.raises(MatrixRefused) as refusal:
        await door.stranger.call("POST", "knock", room_id, query=via)
    await door._set("message", door.stranger.user_id, "cleared")
    await door.stranger.call("POST", "knock", room_id, query=via)

    assert refusal.value.status == 403


# ---------------------------------------------------------------- what comes into a chat


async def test_messages_after_a_revocation(door: Door) -> None:
    """They are not shown and do not count; a Comity's user is told before they send."""
    room_id = await door.meet()
    await door.stranger.send(room_id, "before")
    await eventually(lambda: _reads(door, room_id, "before"), "the message before")

    await door.revoke("message")
    if door.peer == "comity":
        await eventually(lambda: _is_refused(door, room_id, "m.room.message"), "the refusal")
        await door.grant("message")
        await eventually(lambda: _is_sent(door, room_id, "again"), "leave to send again")
        await eventually(lambda: _reads(door, room_id, "again"), "the message after")
    else:
        await door.stranger.send(room_id, "after")
        await asyncio.sleep(1)
        assert "after" not in await door.types_and_texts(room_id)
        room = (await door.sync())["rooms"]["join"][room_id]
        assert room["unread_notifications"]["notification_count"] == 0


async def _is_refused(door: Door, room_id: str, kind: str) -> bool:
    content = {"msgtype": "m.text", "body": "hello?", "call_id": "1", "version": "1"}
    try:
        await door.send(room_id, kind, content)
    except MatrixRefused as refused:
        assert refused.errcode == "M_FORBIDDEN"
        assert refused.body["reason"] == "dev.comity.consent_not_given"
        return True
    return False


async def _is_sent(door: Door, room_id: str, text: str) -> bool:
    try:
        await door.stranger.send(room_id, text)
    except MatrixRefused:
        return False
    return True


async def test_calls(door: Door) -> None:
    """A call that was not agreed to does not ring; a Comity's user is told."""
    room_id = await door.meet()
    await door.deny("call")
    call = {"call_id": "1", "party_id": "a", "version": "1", "lifetime": 60000, "offer": {}}

    if door.peer == "comity":
        assert await _is_refused(door, room_id, "m.call.invite")
    else:
        await door.send(room_id, "m.call.invite", call)
    await door.stranger.send(room_id, "you do not answer")
    await eventually(lambda: _reads(door, room_id, "you do not answer"), "the message")

    assert await door.types_and_texts(room_id) == ["you do not answer"]


async def test_media(door: Door) -> None:
    """A file waits until its sender is accepted; the error says how."""
    await door.answer("media", "closed")
    room_id = await door.owner.create_room(preset="public_chat")
    await door.stranger.join(room_id, via=door.owner.user_id.partition(":")[2])
    headers = {"Authorization": f"Bearer {door.stranger.access_token}", "Content-Type": "image/png"}
    url = f"{door.stranger.base_url}/_matrix/media/v3/upload"
    async with door.stranger.session.post(url, data=b"picture", headers=headers) as response:
        uri = (await response.json())["content_uri"]
    picture = {"msgtype": "m.image", "body": "look", "url": uri}
    await door.send(room_id, "m.room.message", picture)
    await eventually(lambda: _reads(door, room_id, "look"), "the message with the file")

    status, refused = await _download(door, uri)
    await door.grant("media")
    granted, content = await _download(door, uri)

    assert status == 403
    error = json.loads(refused)
    assert error["errcode"] == "M_CONSENT_NOT_GIVEN"
    assert quote(door.stranger.user_id) in error["consent_uri"]
    assert (granted, content) == (200, b"picture")


async def _download(door: Door, uri: str) -> tuple[int, bytes]:
    path = uri.removeprefix("mxc://")
    url = f"{door.owner.base_url}/_matrix/client/v1/media/download/{path}"
    headers = {"Authorization": f"Bearer {door.owner.access_token}"}
    async with door.owner.session.get(url, headers=headers) as response:
        return response.status, await response.read()


# ---------------------------------------------------------------- what the owner gives away


async def test_presence_typing_and_receipts(door: Door) -> None:
    """Nothing of them reaches who may not see them; granted, they do."""
    room_id = await door.meet()
    await door.stranger.send(room_id, "hello")
    await eventually(lambda: _reads(door, room_id, "hello"), "the message")
    for scope in ("presence", "typing", "receipts"):
        await door.deny(scope)
    watch = _Watch(door, room_id, (await door.stranger.call("GET", "sync"))["next_batch"])

    await _show_life(door, room_id)
    await asyncio.sleep(2)
    hidden = await watch.look()
    for scope in ("presence", "typing", "receipts"):
        await door.grant(scope)

    async def all_shown() -> bool:
        await door.stranger.send(room_id, "hello")
        await _show_life(door, room_id)
        return await watch.look() >= {"m.typing", "m.receipt", "m.presence"}

    assert hidden == set()
    await eventually(all_shown, "presence, typing and receipts")


async def _show_life(door: Door, room_id: str) -> None:
    owner = door.owner
    event_id = (await owner.history(room_id))[-1]["event_id"]
    status = {"presence": "online", "status_msg": f"here {next(_serial)}"}
    await owner.call("PUT", "presence", owner.user_id, "status", body=status)
    for typing in (False, True):
        body: dict[str, Any] = {"typing": typing, "timeout": 30_000}
        await owner.call("PUT", "rooms", room_id, "typing", owner.user_id, body=body)
    await owner.call("POST", "rooms", room_id, "receipt", "m.read", event_id)


@dataclass
class _Watch:
    """Which of the three the stranger's client was shown of the owner, sync by sync."""

    door: Door
    room_id: str
    since: str
    seen: set[str] = field(default_factory=set)

    async def look(self) -> set[str]:
        """What was seen until now."""
        answer = await self.door.stranger.call("GET", "sync", query={"since": self.since})
        self.since = answer["next_batch"]
        owner = self.door.owner.user_id
        for event in answer.get("presence", {}).get("events", []):
            if event["sender"] == owner and event["content"]["presence"] != "offline":
                self.seen.add(event["type"])
        room = answer.get("rooms", {}).get("join", {}).get(self.room_id, {})
        for event in room.get("ephemeral", {}).get("events", []):
            if owner in json.dumps(event["content"]):
                self.seen.add(event["type"])
        return set(self.seen)


async def test_profile_look_ups(door: Door) -> None:
    """A stranger finds nobody where strangers may not write; who shares a room still does."""
    await door.answer("message", "closed")
    with pytest.raises(MatrixRefused) as refusal:
        await door.stranger.call("GET", "profile", door.owner.user_id)
    await door.answer("message", "open")
    await door.stranger.call("GET", "profile", door.owner.user_id)

    assert refusal.value.status == 404


async def test_device_key_queries(door: Door) -> None:
    """A stranger's server gets no keys of a user who is closed to strangers."""
    keys = {
        "user_id": door.owner.user_id,
        "device_id": door.owner.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{door.owner.device_id}": "x" * 43},
        "signatures": {},
    }
    await door.owner.call("POST", "keys", "upload", body={"device_keys": keys})
    await door.answer("message", "closed")

    closed = await _device_keys(door)
    await door.answer("message", "open")
    opened = await _device_keys(door)

    if door.peer == "local":
        assert closed == opened == {door.owner.device_id}  # of one instance, nothing to keep from
    else:
        assert (closed, opened) == (set(), {door.owner.device_id})


async def _device_keys(door: Door) -> set[str]:
    body = {"device_keys": {door.owner.user_id: []}, "timeout": 10_000}
    answer = await door.stranger.call("POST", "keys", "query", body=body)
    return set(answer["device_keys"].get(door.owner.user_id, {}))


# ---------------------------------------------------------------- instances


async def test_no_federation_with_one_instance(door: Door) -> None:
    """Who does not talk to an instance hears nothing from it, and sends nothing there."""
    if door.peer == "local":
        pytest.skip("one's own instance is none of the others")
    server = door.stranger.user_id.partition(":")[2]
    await door.deny("federation", server)

    with pytest.raises(MatrixRefused):
        await door.ask()
    with pytest.raises(MatrixRefused) as refusal:
        await door.owner.create_room(invite=[door.stranger.user_id])

    assert await door.invites() == []
    assert refusal.value.errcode == "M_CONSENT_NOT_GIVEN"


async def test_a_report_reaches_the_senders_comity(door: Door, stage: Stage) -> None:
    """The recipient's moderators see a report; so do the sender's, if theirs is a Comity."""
    await door.answer("message", "ask")
    await door.ask()
    body = {"answer": "report", "sender": door.stranger.user_id, "reason": "rude"}
    await door.ours("POST", "/requests/answer", body)
    pair = await stage.pair(PEERS[door.peer])

    async def reported(side: int) -> bool:
        items = await _queue(pair.servers[side])
        return any(i["sender"] == door.stranger.user_id and i["note"] == "rude" for i in items)

    await eventually(lambda: reported(0), "the report here")
    if door.peer == "comity":
        await eventually(lambda: reported(1), "the report there")


async def _queue(server: Any) -> list[dict[str, Any]]:
    """The moderators' queue of a Comity, as its command line asks for it."""
    from homeserver.app import load_signing_keys
    from homeserver.config import load_config
    from homeserver.services.admin_tokens import AdminTokens

    token = AdminTokens(bytes(load_signing_keys(load_config(server.config_file))[0].seed)).make()
    url = f"{server.client_url}/_comity/admin/v1/moderation/queue?limit=500"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        answer = await response.json()
        assert response.status == 200, answer
        items: list[dict[str, Any]] = next(v for v in answer.values() if isinstance(v, list))
        return items


async def test_asking_first(door: Door) -> None:
    """Whether a call is welcome can be asked; a Synapse does not say."""

    async def asked(whom: str, scope: str = "call") -> str:
        path = f"/consent/peer/{quote(whom, safe='')}?scope={scope}"
        answer: str = (await _ours(door.stranger, "GET", path))["answer"]
        return answer

    if door.peer == "synapse":
        path = f"/consent/peer/{quote(door.stranger.user_id, safe='')}?scope=call"
        assert await door.ours("GET", path) == {"answer": "unknown"}
        return
    assert await asked(door.owner.user_id) == "granted"
    for state in ("denied", "asked"):
        if state == "asked":
            await door.answer("message", "ask")
        else:
            await door.deny("message")
        unknown = door.owner.user_id.replace("owner", "nobody")
        assert await asked(door.owner.user_id, "message") == await asked(unknown, "message")
        await door._set("message", door.stranger.user_id, "cleared")


# ---------------------------------------------------------------- addresses


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def identity(world: World) -> AsyncIterator[IdentityServer]:
    """An identity server that all use."""
    server, runner = await IdentityServer.start_in(world.network.add("identity"))
    yield server
    await runner.cleanup()


async def test_third_party_invite(door: Door, identity: IdentityServer) -> None:
    """Whoever invites an address is answered as if by user ID, whenever it got its owner."""
    address = f"owner{next(_serial)}@mail.example"
    known = {"id_server": identity.name, "id_access_token": TOKEN, "medium": "email"}

    async def invite(room_id: str) -> None:
        body = {**known, "address": address}
        await door.stranger.call("POST", "rooms", room_id, "invite", body=body)

    waits, later = [await door.stranger.create_room() for _ in range(2)]
    await invite(waits)
    await door.answer("group", "closed")
    binding = identity.bind(address, door.owner.user_id)
    closed = await identity.tell(door.owner.session, door.owner.base_url, binding)
    with pytest.raises(MatrixRefused) as refusal:
        await invite(later)
    hidden = await door.invites()
    await door.answer("group", "ask")
    asked = await identity.tell(door.owner.session, door.owner.base_url, binding)
    await invite(later)

    assert (closed, hidden, asked) == (200, [], 200)
    assert refusal.value.status == 403
    (request,) = await door.requests()
    assert (request["sender"], request["attempts"]) == (door.stranger.user_id, 2)
    assert await door.invites() == [waits]
    assert binding["invites"][0]["room_id"] == waits


async def test_an_address_gets_an_owner_elsewhere(door: Door, identity: IdentityServer) -> None:
    """The other way: the owner of a Comity invites an address, and whoever binds it may come."""
    address = f"stranger{next(_serial)}@mail.example"
    body = {"id_server": identity.name, "id_access_token": TOKEN}
    room_id = await door.owner.create_room()
    await door.owner.call(
        "POST", "rooms", room_id, "invite", body={**body, "medium": "email", "address": address}
    )

    binding = identity.bind(address, door.stranger.user_id)
    status = await identity.tell(door.stranger.session, door.stranger.base_url, binding)

    async def is_invited() -> bool:
        rooms = (await door.stranger.call("GET", "sync")).get("rooms", {})
        return room_id in rooms.get("invite", {})

    assert status == 200
    await eventually(is_invited, "the invite")
    await door.stranger.join(room_id, via=door.owner.user_id.partition(":")[2])
    await eventually(lambda: door._both_in(room_id), "both in the room")
