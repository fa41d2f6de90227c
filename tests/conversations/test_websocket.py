"""The WebSocket, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from homeserver.metrics import SOCKETS
from homeserver.storage.database import Database
from tests.integration.single import running

from .conftest import ApiUser, new_user
from .sockets import ClientSocket, connected


async def a_room(host: ApiUser, *members: ApiUser) -> str:
    room_id = await host.instance.room(host.token)
    for member in members:
        await member.matrix("POST", f"/join/{room_id}", {})
    return room_id


# ---------------------------------------------------------------- beginning


async def test_a_session_begins_with_hello(alice: ApiUser) -> None:
    async with connected(alice) as socket:
        assert socket.welcome["person"] == alice.address
        assert socket.welcome["heartbeat_seconds"] == 30
        assert isinstance(socket.welcome["position"], int)
        assert socket.welcome["limits"]["in_flight"] == 64


async def test_a_token_may_stand_in_the_query(alice: ApiUser) -> None:
    path = f"/api/v1/ws?access_token={alice.token}"
    async with alice.instance.client.ws_connect(path) as ws:
        assert (await ClientSocket(ws).next())["person"] == alice.address


async def test_a_token_may_come_in_the_first_frame(alice: ApiUser) -> None:
    async with alice.instance.client.ws_connect("/api/v1/ws") as ws:
        socket = ClientSocket(ws)

        await socket.send(type="hello", token=alice.token)

        assert (await socket.next())["person"] == alice.address


async def test_what_comes_right_behind_hello_is_carried_out(alice: ApiUser) -> None:
    room_id = await a_room(alice)
    async with alice.instance.client.ws_connect("/api/v1/ws") as ws:
        socket = ClientSocket(ws)

        await socket.send(type="hello", token=alice.token)
        await socket.send(type="send", client_id="one", conversation_id=room_id, text="hello")

        assert (await socket.next())["type"] == "hello"
        assert (await socket.until("ok"))["client_id"] == "one"


async def test_a_wrong_token_is_refused_before_and_after_the_handshake(alice: ApiUser) -> None:
    client = alice.instance.client
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/api/v1/ws", headers={"Authorization": "Bearer wrong"})
    assert refused.value.status == 401
    async with client.ws_connect("/api/v1/ws") as ws:
        socket = ClientSocket(ws)
        await socket.send(type="hello", token="wrong")
        assert (await socket.next())["problem"]["code"] == "unauthenticated"
        assert await socket.closed() == 4001


async def test_another_first_frame_than_hello_ends_the_connection(alice: ApiUser) -> None:
    async with alice.instance.client.ws_connect("/api/v1/ws") as ws:
        socket = ClientSocket(ws)

        await socket.send(type="ping")

        assert await socket.closed() == 4400


async def test_a_plain_request_is_told_to_upgrade(alice: ApiUser) -> None:
    told = await alice.get("/ws", status=426)

    assert told["code"] == "upgrade_required"


# ---------------------------------------------------------------- sending and being told


async def test_a_message_is_acknowledged_and_told_to_all_members(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_room(alice, bob)
    async with connected(alice) as hers, connected(bob) as his:
        await hers.send(type="send", client_id="one", conversation_id=room_id, text="hello")

        answers = {(frame := await hers.next())["type"]: frame for _ in range(2)}
        told = await his.until("message.created")
    ok, echo = answers["ok"], answers["message.created"]
    assert (ok["client_id"], ok["message_id"]) == ("one", told["message"]["id"])
    assert ok["position"] == told["position"] == told["message"]["position"]
    assert told["message"]["text"] == "hello"
    assert echo == told


async def test_the_same_client_id_again_gives_the_same_message(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_room(alice, bob)
    frame: dict[str, Any] = {
        "type": "send", "client_id": "one", "conversation_id": room_id, "text": "hello"
    }  # fmt: skip
    async with connected(alice) as socket:
        await socket.send(**frame)
        first = await socket.until("ok")
        await socket.send(**frame)
        second = await socket.until("ok")
    async with connected(alice) as socket:
        await socket.send(**frame)
        third = await socket.until("ok")

    assert first["message_id"] == second["message_id"] == third["message_id"]
    assert first["position"] == second["position"] == third["position"]
    assert [ok.get("repeated", False) for ok in (first, second, third)] == [False, True, True]
    assert await alice.instance.texts(alice.token, room_id) == ["hello"]


async def test_what_one_socket_sends_stands_in_its_order(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    async with connected(alice) as hers, connected(bob) as his:
        for number in range(300):
            await hers.send(
                type="send", client_id=str(number), conversation_id=room_id, text=str(number)
            )

        told = [(await his.until("message.created")) for _ in range(300)]
    assert [update["message"]["text"] for update in told] == [str(n) for n in range(300)]
    positions = [update["position"] for update in told]
    assert positions == sorted(set(positions))


async def test_a_message_to_a_person_makes_the_conversation(alice: ApiUser, bob: ApiUser) -> None:
    async with connected(alice) as socket:
        await socket.send(type="send", client_id="one", to=bob.address, text="hello")
        ok = await socket.until("ok")

    assert ok["outcome"] == "requested"
    assert ok["conversation_id"].startswith("!")


async def test_what_cannot_be_done_is_a_problem_with_its_client_id(alice: ApiUser) -> None:
    async with connected(alice) as socket:
        await socket.send(type="send", client_id="one", conversation_id="!no:one.test", text="x")
        missing = await socket.until("problem")
        await socket.send(type="send", client_id="two", colour="red")
        misspelt = await socket.until("problem")
        await socket.ws.send_str("{")
        unreadable = await socket.until("problem")
        await socket.send(type="ping", client_id="three")
        pong = await socket.until("pong")

    assert (missing["client_id"], missing["problem"]["code"]) == ("one", "not_found")
    assert (misspelt["client_id"], misspelt["problem"]["code"]) == ("two", "invalid_body")
    assert unreadable["problem"]["code"] == "invalid_json"
    assert pong["client_id"] == "three"


async def test_binary_frames_are_messagepack(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    options = {"protocols": ("comity.v1.msgpack",)}
    async with connected(alice, **options) as hers, connected(bob, **options) as his:
        assert hers.ws.protocol == "comity.v1.msgpack"

        await hers.send(type="send", client_id="one", conversation_id=room_id, text="hello")

        assert (await hers.until("ok"))["client_id"] == "one"
        assert (await his.until("message.created"))["message"]["text"] == "hello"


@pytest.mark.parametrize("text", ["short", "long " * 1_000, "🙂" * 5_000])
async def test_compressed_messages_go_both_ways(alice: ApiUser, bob: ApiUser, text: str) -> None:
    room_id = await a_room(alice, bob)
    async with connected(alice, compress=15) as hers, connected(bob, compress=15) as his:
        assert hers.ws.compress == 15

        await hers.send(type="send", client_id="one", conversation_id=room_id, text=text)

        assert (await his.until("message.created"))["message"]["text"] == text


async def test_typing_is_said_over_rest_too(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    path = f"/conversations/{room_id}/typing"
    async with connected(alice) as hers:
        await bob.instance.say(bob.token, room_id, "hello")
        await hers.until("message.created")
        await bob.call("PUT", path, {})
        begun = await hers.until("typing")
        await bob.call("PUT", path, {"typing": False})
        ended = await hers.until("typing")

    assert (begun["person"], begun["typing"], ended["typing"]) == (bob.address, True, False)


async def test_typing_reading_and_presence_are_carried_out(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    event_id = (await alice.instance.say(alice.token, room_id, "hello"))["event_id"]
    async with connected(alice) as hers, connected(bob) as his:
        await his.send(type="read", client_id="r", conversation_id=room_id, message_id=event_id)
        await his.until("ok", client_id="r")
        receipt = await hers.until("receipt.read")
        await his.send(type="typing", client_id="t", conversation_id=room_id)
        await his.until("ok", client_id="t")
        types = await hers.until("typing")
        await his.send(type="presence", client_id="p0", state="busy", text="a meeting")
        busy = await hers.until("presence", state="busy")
        assert busy["text"] == "a meeting"
        await his.send(type="presence", client_id="p", state="busy", text="lunch")
        await his.until("ok", client_id="p")
        away = await hers.until("presence", state="busy")
        await his.send(type="typing", client_id="x", conversation_id="!no:one.test")
        refused = await his.until("problem")

    assert (receipt["person"], receipt["message_id"]) == (bob.address, event_id)
    assert refused["problem"]["code"] == "forbidden"
    assert (types["person"], types["typing"], "position" in types) == (bob.address, True, False)
    assert (away["person"], away["text"]) == (bob.address, "lunch")


async def test_edits_reactions_and_deletions_are_carried_out_and_told(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_room(alice, bob)
    event_id = (await alice.instance.say(alice.token, room_id, "helo"))["event_id"]
    message = {"conversation_id": room_id, "message_id": event_id}
    async with connected(alice) as hers, connected(bob) as his:
        await hers.send(type="edit", client_id="e", text="hello", **message)
        edited = await his.until("message.updated")
        await his.send(type="react", client_id="r", key="+", **message)
        added = await hers.until("reaction.added")
        await his.send(type="react", client_id="s", key="+", remove=True, **message)
        removed = await hers.until("reaction.removed")
        await his.send(type="delete", client_id="d", **message)
        refused = await his.until("problem")
        await his.send(type="delete", client_id="m", scope="me", **message)
        hidden = await his.until("messages.hidden")
        await hers.send(type="delete", client_id="d", reason="typo", **message)
        deleted = await his.until("message.deleted")

    assert edited["message"]["text"] == "hello"
    assert (added["person"], added["key"], removed["key"]) == (bob.address, "+", "+")
    assert (refused["client_id"], refused["problem"]["code"]) == ("d", "forbidden")
    assert hidden["message_ids"] == [event_id]
    assert (deleted["message_id"], deleted["reason"]) == (event_id, "typo")


# ---------------------------------------------------------------- resuming


async def test_who_comes_back_misses_nothing_and_sees_nothing_twice(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_room(alice, bob)
    async with connected(bob) as socket:
        await alice.instance.say(alice.token, room_id, "one")
        last = (await socket.until("message.created"))["position"]
    for text in ("two", "three"):
        await alice.instance.say(alice.token, room_id, text)

    async with connected(bob, since=last) as socket:
        told = [await socket.until("message.created") for _ in range(2)]
        await alice.instance.say(alice.token, room_id, "four")
        told.append(await socket.until("message.created"))

    assert [update["message"]["text"] for update in told] == ["two", "three", "four"]
    assert all(update["position"] > last for update in told)


async def test_an_unknown_position_is_told_to_start_anew(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    async with connected(bob, since=10**9) as socket:
        reset = await socket.next()
        await alice.instance.say(alice.token, room_id, "one")
        told = await socket.until("message.created")

    assert (reset["type"], reset["reason"]) == ("reset", "unknown_position")
    assert reset["position"] == socket.welcome["position"] < told["position"]


# ---------------------------------------------------------------- ending


async def test_a_newer_connection_of_a_device_takes_the_place_of_the_older(alice: ApiUser) -> None:
    async with connected(alice) as old, connected(alice) as new:
        assert await old.closed() == 4002
        await new.send(type="ping")
        assert (await new.next())["type"] == "pong"


async def test_logging_out_ends_the_session_at_once(alice: ApiUser, bob: ApiUser) -> None:
    async with connected(alice) as hers, connected(bob) as his:
        await alice.matrix("POST", "/logout", {})

        assert await hers.closed() == 4001
        await his.send(type="ping")
        assert (await his.next())["type"] == "pong"


async def test_the_end_of_an_account_ends_its_sessions(alice: ApiUser) -> None:
    auth = {"type": "m.login.password", "password": "sesame", "user": "alice"}
    async with connected(alice) as socket:
        await alice.matrix("POST", "/account/deactivate", {"auth": auth})

        assert await socket.closed() == 4001


async def test_a_silent_connection_is_dropped(alice: ApiUser) -> None:
    hub = alice.instance.wiring.conversations.feed_parts.hub
    async with connected(alice, autoping=False) as socket:
        now = asyncio.get_running_loop().time()
        await hub.tick(now + 31)
        await hub.tick(now + 62)

        assert (await socket.ws.receive()).type in (
            aiohttp.WSMsgType.PING,
            aiohttp.WSMsgType.CLOSED,
        )
        assert await socket.closed() == 1006
    assert hub.sessions() == []


async def test_who_answers_pings_stays(alice: ApiUser) -> None:
    hub = alice.instance.wiring.conversations.feed_parts.hub
    async with connected(alice) as socket:
        now = asyncio.get_running_loop().time()
        for number in range(4):
            await hub.tick(now + 31 * (number + 1))
            await socket.send(type="ping", client_id=str(number))
            assert (await socket.next())["client_id"] == str(number)


async def test_a_user_has_so_many_sockets(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, websocket={"sockets_per_user": 2}) as instance:
        alice = await new_user(instance, "alice")
        login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
        tokens = [(await instance.call("POST", "/login", login))["access_token"] for _ in range(3)]
        async with (
            connected(ApiUser(instance, "alice", tokens[0])),
            connected(ApiUser(instance, "alice", tokens[1])),
        ):
            headers = {"Authorization": f"Bearer {tokens[2]}"}
            async with instance.client.ws_connect("/api/v1/ws", headers=headers) as ws:
                assert await ClientSocket(ws).closed() == 4029
        assert alice


async def test_open_sockets_are_counted(alice: ApiUser, bob: ApiUser) -> None:
    before = SOCKETS._value.get()
    async with connected(alice), connected(bob):
        assert SOCKETS._value.get() == before + 2
    for _ in range(3000):
        if SOCKETS._value.get() == before:
            break
        await asyncio.sleep(0.01)

    assert SOCKETS._value.get() == before


# ---------------------------------------------------------------- limits


async def test_too_large_a_frame_ends_the_connection(alice: ApiUser) -> None:
    async with connected(alice) as socket:
        await socket.send(type="send", client_id="one", text="x" * 300_000)

        assert await socket.closed() == 1009


async def test_a_compressed_bomb_ends_the_connection(alice: ApiUser) -> None:
    async with connected(alice, compress=15) as socket:
        await socket.ws.send_str("0" * 10_000_000)

        assert await socket.closed() == 1009


async def test_who_sends_too_fast_is_read_slower_and_loses_nothing(
    database: Database, tmp_path: Path
) -> None:
    limits = {"frames_per_second": 200, "frames_at_once": 5, "max_in_flight": 2}
    async with running(database, tmp_path, websocket=limits) as instance:
        alice = await new_user(instance, "alice")
        async with connected(alice) as socket:
            loop = asyncio.get_running_loop()
            started = loop.time()
            for number in range(45):
                await socket.send(type="ping", client_id=str(number))
            answers = [(await socket.next())["client_id"] for _ in range(45)]

            assert answers == [str(number) for number in range(45)]
            assert loop.time() - started > 0.15


async def test_a_slow_reader_is_cut_off_and_holds_up_nobody(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, websocket={"max_unread_bytes": 65_536}) as instance:
        alice, bob, carol = [await new_user(instance, name) for name in ("alice", "bob", "carol")]
        room_id = await a_room(alice, bob, carol)
        hub = instance.wiring.conversations.feed_parts.hub
        async with connected(carol) as quick, connected(bob) as slow:
            slow.ws._reader._protocol.transport.pause_reading()  # as a client that hangs
            text = "x" * 30_000
            sent = 0
            while any(
                session.caller.requester.user_id == bob.user_id for session in hub.sessions()
            ):
                await instance.say(alice.token, room_id, text)
                sent += 1
                told = await quick.until("message.created")
                assert told["message"]["text"] == text
                assert sent < 1_000
            await instance.say(alice.token, room_id, "last")
            slow.ws._reader._protocol.transport.resume_reading()
            last = slow.welcome["position"]
            seen = 0
            while True:
                message = await slow.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                update = message.json()
                last, seen = update["position"], seen + 1
            assert slow.ws.close_code == 4008
        assert seen <= sent
        async with connected(bob, since=last) as back:
            missed = [await back.until("message.created") for _ in range(sent + 1 - seen)]
        assert missed[-1]["message"]["text"] == "last"


async def test_the_server_goes_with_a_code_that_says_to_come_back(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as instance:
        alice = await new_user(instance, "alice")
        async with connected(alice) as socket:
            instance.wiring.stop_waiting()

            assert await socket.closed() == 1012
