"""Pushers, and what their gateways are sent.  Spec: client-server API, push notifications."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeserver.services.push.gateway import Outcome
from homeserver.storage.database import Database
from tests.harness.push_gateway import push_gateway
from tests.integration.push_world import (
    SETTINGS,
    pusher,
    pushing,
    settled,
    two_and_an_app,
    two_in_a_room,
)
from tests.integration.single import running
from tests.integration.test_message_ends import eventually


async def test_a_message_is_pushed_with_all_that_the_specification_asks_for(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(
            one, name="Mission Control", room_alias_name="mission"
        )
        data = {"url": gateway.url, "brand": "x"}
        await one.call("POST", "/pushers/set", pusher(gateway.url, data=data), token=bob)

        sent = await one.say(alice, room_id, "Hello")

        (notification,) = await gateway.take()
        (device,) = notification.pop("devices")
        assert isinstance(device.pop("pushkey_ts"), int)
        assert device == {
            "app_id": "test.app",
            "pushkey": "key",
            "data": {"brand": "x"},
            "tweaks": {"sound": "default"},
        }
        assert notification == {
            "event_id": sent["event_id"],
            "room_id": room_id,
            "type": "m.room.message",
            "sender": "@alice:one.test",
            "sender_display_name": "alice",
            "room_name": "Mission Control",
            "room_alias": "#mission:one.test",
            "prio": "high",
            "content": {"msgtype": "m.text", "body": "Hello"},
            "counts": {"unread": 1},
        }


async def test_event_id_only_says_no_more(database: Database, tmp_path: Path) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(one)
        data = {"url": gateway.url, "format": "event_id_only"}
        await one.call("POST", "/pushers/set", pusher(gateway.url, data=data), token=bob)

        sent = await one.say(alice, room_id, "Hello")

        (notification,) = await gateway.take()
        assert notification.keys() == {"event_id", "room_id", "counts", "devices", "prio"}
        assert notification["event_id"] == sent["event_id"]
        assert notification["devices"][0]["data"] == {"format": "event_id_only"}


async def test_reading_clears_the_badge(database: Database, tmp_path: Path) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_and_an_app(one, gateway)
        await one.say(alice, room_id, "one")
        event_id = (await one.say(alice, room_id, "two"))["event_id"]
        await gateway.take(2)

        await one.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}", {}, token=bob)

        (cleared,) = await gateway.take()
        assert cleared["counts"] == {"unread": 0, "missed_calls": 0}
        assert "event_id" not in cleared
        await one.say(bob, room_id, "what one says oneself pushes nothing")
        await settled(one)
        assert gateway.notifications == []


async def test_an_invite_is_pushed_and_a_request_is_not(database: Database, tmp_path: Path) -> None:
    consent = {"defaults": {"group": "ask"}}
    async with pushing(database, tmp_path, consent=consent) as (one, gateway):
        alice, bob = await one.register("alice"), await one.register("bob")
        await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
        first, second = await one.room(alice, name="First"), await one.room(alice, name="Second")
        invite = {"user_id": "@bob:one.test"}

        await one.call("POST", f"/rooms/{first}/invite", invite, token=alice)
        await settled(one)
        before = list(gateway.notifications)
        await one.call("POST", f"/rooms/{first}/join", {}, token=bob)
        await one.call("POST", f"/rooms/{second}/invite", invite, token=alice)

        assert before == []
        (notification,) = await gateway.take()
        assert notification["type"] == "m.room.member"
        assert notification["user_is_target"] is True
        assert notification["room_name"] == "Second"
        assert notification["sender_display_name"] == "alice"


async def test_who_is_ignored_and_what_is_held_pushes_nothing(
    database: Database, tmp_path: Path
) -> None:
    rules = [{"name": "hold", "match": {"keywords": ["holdme"]}, "action": "hold"}]
    async with pushing(database, tmp_path, policy={"rules": rules}) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(one)
        carol = await one.register("carol")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=carol)
        await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
        ignored = {"ignored_users": {"@carol:one.test": {}}}
        path = "/user/@bob:one.test/account_data/m.ignored_user_list"
        await one.call("PUT", path, ignored, token=bob)

        await one.say(carol, room_id, "from somebody who is ignored")
        await one.say(alice, room_id, "holdme")
        last = await one.say(alice, room_id, "the end")

        (notification,) = await gateway.take()
        assert notification["event_id"] == last["event_id"]
        assert notification["counts"] == {"unread": 1}


async def test_a_rejected_pushkey_ends_its_pusher(database: Database, tmp_path: Path) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_and_an_app(one, gateway)
        gateway.rejected = ["key"]

        await one.say(alice, room_id, "Hello")
        await gateway.take()
        await settled(one)

        assert await one.call("GET", "/pushers", token=bob) == {"pushers": []}


async def test_what_a_gateway_does_not_take_is_sent_again(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, _bob, room_id = await two_and_an_app(one, gateway)
        gateway.status = 502

        ids = [(await one.say(alice, room_id, text))["event_id"] for text in ("one", "two")]
        await gateway.until(lambda gateway: gateway.attempts == 1)
        gateway.status = 200

        assert [n["event_id"] for n in await gateway.take(2)] == ids


async def test_a_stop_loses_no_push_and_repeats_none(database: Database, tmp_path: Path) -> None:
    async with push_gateway() as gateway:
        async with running(database, tmp_path, **SETTINGS) as one:
            alice, bob, room_id = await two_in_a_room(one)
            await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
            first = await one.say(alice, room_id, "one")
            (sent,) = await gateway.take()
            await settled(one)
            await one.wiring.push_parts.close()  # as if it died: nobody follows the log any more
            lost = [(await one.say(alice, room_id, text))["event_id"] for text in ("two", "three")]
            invite = {"invite": ["@bob:one.test"], "preset": "private_chat"}
            other = await one.room(alice, **invite)

        async with running(database, tmp_path, **SETTINGS) as one:
            again = await gateway.take(3)
            await settled(one)

            assert sent["event_id"] == first["event_id"]
            assert [n["event_id"] for n in again[:2]] == lost
            assert (again[2]["room_id"], again[2]["user_is_target"]) == (other, True)
            assert gateway.notifications == []


async def test_pushers_go_with_their_device_and_others_at_a_change_of_password(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": "sesame",
        }
        second = (await one.call("POST", "/login", login))["access_token"]
        third = (await one.call("POST", "/login", login))["access_token"]
        url = "https://push.example/_matrix/push/v1/notify"
        for key, token in (("1", alice), ("2", second), ("3", third)):
            await one.call("POST", "/pushers/set", pusher(url, pushkey=key), token=token)

        await one.call("POST", "/logout", {}, token=third)
        after_logout = await one.call("GET", "/pushers", token=alice)
        auth = {**login, "session": None}
        del auth["session"]
        change = {"new_password": "open sesame", "auth": auth}
        await one.call("POST", "/account/password", change, token=alice)

        after_change = await one.call("GET", "/pushers", token=alice)
        assert [p["pushkey"] for p in after_logout["pushers"]] == ["1", "2"]
        assert [p["pushkey"] for p in after_change["pushers"]] == ["1"]


async def test_a_gateway_in_the_local_network_is_not_asked(
    database: Database, tmp_path: Path
) -> None:
    async with push_gateway() as gateway, running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        url = gateway.url.replace("http://", "https://")
        for key, address in (("1", url), ("2", url.replace("127.0.0.1", "localhost"))):
            body = pusher(address, pushkey=key)
            await one.call("POST", "/pushers/set", body, token=bob)

        await one.say(alice, room_id, "Hello")
        await one.wiring.push_parts.following.follower.caught_up()

        async def both_failed() -> bool:
            count = await database.fetchval("SELECT count(*) FROM pushers WHERE failures > 0")
            return bool(count == 2)

        await eventually(both_failed)

        assert gateway.attempts == 0


async def test_what_was_read_or_redacted_meanwhile_is_not_pushed(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_and_an_app(one, gateway)
        gateway.status = 502
        read = (await one.say(alice, room_id, "read"))["event_id"]
        redacted = (await one.say(alice, room_id, "redacted"))["event_id"]
        last = (await one.say(alice, room_id, "last"))["event_id"]
        await gateway.until(lambda gateway: gateway.attempts == 1)

        await one.call("POST", f"/rooms/{room_id}/receipt/m.read/{read}", {}, token=bob)
        await one.call("PUT", f"/rooms/{room_id}/redact/{redacted}/1", {}, token=alice)
        gateway.status = 200

        (notification,) = await gateway.take()
        assert notification["event_id"] == last


async def test_a_pusher_that_is_off_gets_nothing_until_it_is_on_again(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(one)
        off = pusher(gateway.url, enabled=False)
        await one.call("POST", "/pushers/set", off, token=bob)
        await one.say(alice, room_id, "unheard")
        await settled(one)

        await one.call("POST", "/pushers/set", {**off, "enabled": True}, token=bob)
        heard = await one.say(alice, room_id, "heard")

        (notification,) = await gateway.take()
        assert notification["event_id"] == heard["event_id"]
        assert notification["counts"] == {"unread": 2}


async def test_what_was_not_heard_is_not_caught_up_with_at_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    async with push_gateway() as gateway:
        async with running(database, tmp_path, **SETTINGS) as one:
            alice, bob, room_id = await two_in_a_room(one)
            off = pusher(gateway.url, enabled=False)
            await one.call("POST", "/pushers/set", off, token=bob)
            await one.say(alice, room_id, "unheard")
            await one.call("POST", "/pushers/set", {**off, "enabled": True}, token=bob)
            await one.wiring.push_parts.following.follower.caught_up()
        await database.execute("DELETE FROM push_position")

        async with running(database, tmp_path, **SETTINGS) as one:
            await settled(one)

            assert gateway.attempts == 0


async def test_rules_of_ones_own_decide_and_their_tweaks_are_passed_on(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_and_an_app(one, gateway)
        path = "/pushrules/global"
        tweaks = [{"set_tweak": "sound", "value": "cake.wav"}, {"set_tweak": "light", "value": 3}]
        cake = {"pattern": "cake", "actions": ["notify", *tweaks]}
        await one.call("PUT", f"{path}/content/cake", cake, token=bob)
        await one.call("PUT", f"{path}/room/{room_id}", {"actions": []}, token=bob)

        await one.say(alice, room_id, "tea")
        await one.say(alice, room_id, "cake")

        (notification,) = await gateway.take()
        assert notification["content"]["body"] == "cake"
        assert notification["devices"][0]["tweaks"] == {"sound": "cake.wav", "light": 3}


async def test_encrypted_messages_are_urgent_and_missed_calls_are_counted(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(one)
        carol = await one.register("carol")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=carol)
        await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
        cipher = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AAAA", "session_id": "s"}
        call = {"call_id": "c", "party_id": "p", "version": "1", "lifetime": 60_000}
        offer = {"offer": {"type": "offer", "sdp": "v=0"}, "invitee": "@bob:one.test"}
        send = f"/rooms/{room_id}/send"

        await one.call("PUT", f"{send}/m.room.encrypted/1", cipher, token=alice)
        await one.say(alice, room_id, "plain, in a group")
        await one.call("PUT", f"{send}/m.call.invite/2", {**call, **offer}, token=alice)
        encrypted, plain, ringing = await gateway.take(3)
        hangup = {**call, "reason": "user_hangup"}
        await one.call("PUT", f"{send}/m.call.hangup/3", hangup, token=alice)
        await one.say(alice, room_id, "after all")
        (after,) = await gateway.take()

        assert [each["prio"] for each in (encrypted, plain, ringing)] == ["high", "low", "high"]
        assert encrypted["content"] == cipher
        assert ringing["devices"][0]["tweaks"] == {"sound": "ring"}
        assert after["counts"] == {"unread": 4, "missed_calls": 1}


async def test_what_is_released_by_a_moderator_is_pushed_then(
    database: Database, tmp_path: Path
) -> None:
    rules = [{"name": "hold", "match": {"keywords": ["holdme"]}, "action": "hold"}]
    async with pushing(database, tmp_path, policy={"rules": rules}) as (one, gateway):
        alice, _bob, room_id = await two_and_an_app(one, gateway)
        held = await one.say(alice, room_id, "holdme")
        await one.wiring.accounts.set_admin("@alice:one.test", True)
        queue = "/_comity/admin/v1/moderation/queue"
        (item,) = (await one.call("GET", queue, token=alice))["items"]

        await one.call("POST", f"{queue}/{item['item_id']}/release", {}, token=alice)

        (notification,) = await gateway.take()
        assert notification["event_id"] == held["event_id"]


async def test_a_locked_account_is_told_nothing(database: Database, tmp_path: Path) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(one)
        await one.wiring.accounts.set_admin("@alice:one.test", True)
        await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
        lock = "/_matrix/client/v1/admin/lock/@bob:one.test"
        await one.call("PUT", lock, {"locked": True}, token=alice)

        await one.say(alice, room_id, "while it is locked")
        await settled(one)
        await one.call("PUT", lock, {"locked": False}, token=alice)
        last = await one.say(alice, room_id, "afterwards")

        (notification,) = await gateway.take()
        assert notification["event_id"] == last["event_id"]


async def test_all_apps_of_a_user_are_told_the_same_counts(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_in_a_room(one)
        for key in ("1", "2", "3"):
            await one.call("POST", "/pushers/set", pusher(gateway.url, pushkey=key), token=bob)

        for number in range(1, 4):
            await one.say(alice, room_id, str(number))
            told = await gateway.take(3)

            assert [each["counts"] for each in told] == [{"unread": number}] * 3
            assert {each["devices"][0]["pushkey"] for each in told} == {"1", "2", "3"}


async def test_an_invite_is_not_pushed_once_its_sender_is_unwanted(
    database: Database, tmp_path: Path
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, room_id = await two_and_an_app(one, gateway)
        gateway.status = 502
        second = await one.room(alice, name="Second")
        await one.call("POST", f"/rooms/{second}/invite", {"user_id": "@bob:one.test"}, token=alice)
        await gateway.until(lambda gateway: gateway.attempts == 1)

        ignored = {"ignored_users": {"@alice:one.test": {}}}
        path = "/user/@bob:one.test/account_data/m.ignored_user_list"
        await one.call("PUT", path, ignored, token=bob)
        gateway.status = 200
        carol = await one.register("carol")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=carol)
        last = await one.say(carol, room_id, "the end")

        (notification,) = await gateway.take()
        assert notification["event_id"] == last["event_id"]


async def test_what_is_read_while_the_badge_is_on_its_way_is_told_too(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pushing(database, tmp_path) as (one, gateway):
        alice, bob, first = await two_in_a_room(one)
        second = await one.room(alice)
        await one.call("POST", f"/rooms/{second}/join", {}, token=bob)
        await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
        said = {room: (await one.say(alice, room, "text"))["event_id"] for room in (first, second)}
        await gateway.take(2)
        await settled(one)
        parts = one.wiring.push_parts
        notify, held = parts.sending._gateway.notify, []

        async def read(room_id: str) -> None:
            path = f"/rooms/{room_id}/receipt/m.read/{said[room_id]}"
            await one.call("POST", path, {}, token=bob)

        async def slowly(url: str, body: bytes) -> Outcome:
            if not held:
                held.append(body)
                await read(second)
                await parts.following.follower.caught_up()
            return await notify(url, body)

        monkeypatch.setattr(parts.sending._gateway, "notify", slowly)
        await read(first)

        told = await gateway.take(2)
        assert [notification["counts"]["unread"] for notification in told] == [1, 0]
