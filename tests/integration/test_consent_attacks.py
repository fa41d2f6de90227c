"""What somebody tries who was refused, or is not accepted yet; and many things at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.services.consent.abuse import RequestAbuse
from homeserver.storage.database import Database
from tests.integration.consent_world import ALICE, BOB, CAROL, OURS, direct, invites, with_defaults
from tests.integration.single import Instance, running


async def _sync(one: Instance, token: str, since: str = "") -> dict[str, Any]:
    return await one.call("GET", "/sync" + (f"?since={since}" if since else ""), token=token)


async def _answer(one: Instance, token: str, answer: str, **whom: Any) -> dict[str, Any]:
    body = {"answer": answer, **whom}
    return await one.call("POST", f"{OURS}/requests/answer", body, token=token)


# ---------------------------------------------------------------- what a stranger gets across


async def test_a_strangers_words_are_not_shown_before_they_are_accepted(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask", group="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        body = {"user_id": BOB, "reason": "Buy!"}

        await one.call("POST", f"/rooms/{room_id}/invite", body, token=alice)

        (shown,) = (await invites(one, bob)).values()
        assert "Buy!" not in str(shown)


@pytest.mark.parametrize("door", ["ban", "kick"])
@pytest.mark.parametrize("relation", ["blocked", "pending", "ignored", "hidden"])
async def test_a_ban_or_kick_carries_no_words_to_who_never_was_in_the_room(
    database: Database, tmp_path: Path, door: str, relation: str
) -> None:
    async with with_defaults(database, tmp_path, message="ask", group="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        if door == "kick":
            await one.call("POST", f"/rooms/{room_id}/invite", {"user_id": BOB}, token=alice)
        elif relation == "pending":
            await direct(one, alice, BOB)
        if relation == "blocked":
            path = f"{OURS}/consent/message/{ALICE}"
            await one.call("PUT", path, {"state": "denied"}, token=bob)
        elif relation != "pending":
            kind, content = {
                "ignored": ("m.ignored_user_list", {"ignored_users": {ALICE: {}}}),
                "hidden": ("m.invite_permission_config", {"ignored_users": [ALICE]}),
            }[relation]
            await one.call("PUT", f"/user/{BOB}/account_data/{kind}", content, token=bob)
        since = (await _sync(one, bob))["next_batch"]
        body = {"user_id": BOB, "reason": "Buy!"}

        await one.call("POST", f"/rooms/{room_id}/{door}", body, token=alice)

        assert "Buy!" not in str(await _sync(one, bob, since))


# ---------------------------------------------------------------- again and again


@pytest.mark.parametrize("state", ["expired", "declined"])
async def test_who_may_ask_again_is_seen_though_it_is_the_same_room(
    database: Database, tmp_path: Path, state: str
) -> None:
    async with with_defaults(database, tmp_path, message="ask", group="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        invite = {"user_id": BOB}
        await one.call("POST", f"/rooms/{room_id}/invite", invite, token=alice)
        if state == "expired":
            await database.execute("UPDATE message_requests SET expires_at = 1")
            await one.wiring.consent_parts.requests.expire_due()
        else:
            await _answer(one, bob, "decline", sender=ALICE)
            for scope in ("message", "group"):  # as if its time were up
                path = f"{OURS}/consent/{scope}/{ALICE}"
                await one.call("PUT", path, {"state": "cleared"}, token=bob)
        for _ in range(1500):
            if (await one.wiring.rooms.get(room_id)).membership(BOB) == "leave":
                break
            await asyncio.sleep(0.02)

        await one.call("POST", f"/rooms/{room_id}/invite", invite, token=alice)

        (asked,) = (await one.call("GET", f"{OURS}/requests", token=bob))["requests"]
        assert asked["sender"] == ALICE
        assert list(await invites(one, bob)) == [room_id]


async def test_invites_at_the_same_time_are_one_request_and_each_counts(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")

        await asyncio.gather(*(direct(one, alice, BOB) for _ in range(6)))

        (asked,) = (await one.call("GET", f"{OURS}/requests", token=bob))["requests"]
        assert asked["attempts"] == 6
        rows = await database.fetchval("SELECT count(*) FROM consent WHERE owner = $1", BOB)
        assert rows == 1


async def test_no_more_than_may_wait_though_they_come_at_once(
    database: Database, tmp_path: Path
) -> None:
    consent = {"defaults": {"message": "ask"}, "requests": {"max_pending": 2}}
    async with running(database, tmp_path, consent=consent) as one:
        bob = await one.register("bob")
        strangers = [await one.register(f"stranger{n}") for n in range(6)]
        body = {"is_direct": True, "preset": "trusted_private_chat", "invite": [BOB]}

        await asyncio.gather(
            *(
                one.client.post(
                    "/_matrix/client/v3/createRoom",
                    json=body,
                    headers={"Authorization": f"Bearer {token}"},
                )
                for token in strangers
            )
        )

        waiting = (await one.call("GET", f"{OURS}/requests", token=bob))["requests"]
        assert len(waiting) == 2


@pytest.mark.parametrize("answer", ["accept", "block"])
async def test_an_answer_stands_though_another_invite_comes_meanwhile(
    database: Database, tmp_path: Path, answer: str
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice = await one.register("alice")
        await one.register("bob")
        await direct(one, alice, BOB)
        requests, log = one.wiring.consent_parts.requests, one.wiring.log
        known = one.wiring.consent

        # both begin before either is on disk
        await asyncio.gather(
            requests.answer_all(UserId(BOB), answer, sender=ALICE, how="client"),
            *(
                requests.check(UserId(BOB), ALICE, f"!{n}:one.test", is_direct=True)
                for n in range(3)
            ),
            return_exceptions=True,
        )
        await log.append()

        assert (await requests.list(BOB, "pending")) == []
        assert await known.state(BOB, ALICE, "message") == (
            "granted" if answer == "accept" else "denied"
        )


# ---------------------------------------------------------------- nonsense


@pytest.mark.parametrize("server", ["\0", "*", "tier:stranger", "", "@bob:one.test", "a b"])
async def test_all_of_what_is_no_server_is_refused(
    database: Database, tmp_path: Path, server: str
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        bob = await one.register("bob")
        body = {"answer": "block", "server": server}

        answer = await one.call("POST", f"{OURS}/requests/answer", body, token=bob, status=400)

        assert answer["errcode"] == "M_INVALID_PARAM"
        assert await database.fetchval("SELECT count(*) FROM consent WHERE owner = $1", BOB) == 0


async def test_the_scope_federation_is_about_servers(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        path = f"{OURS}/consent/federation/@eve:evil.test"

        answer = await one.call("PUT", path, {"state": "denied"}, token=bob, status=400)

        assert answer["errcode"] == "M_INVALID_PARAM"


# ---------------------------------------------------------------- time


async def test_a_friend_for_a_time_of_a_blocked_server_is_blocked_afterwards(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        await one.register("bob")
        consent = one.wiring.consent
        friend, now = "@eve:evil.test", consent.now_ms()
        await consent.set(BOB, "evil.test", "message", "denied", how="client")
        await consent.set(
            BOB, friend, "message", "granted", how="client", expires_at=now + 3_600_000
        )
        during = await consent.withheld(BOB)
        rows = (await consent.owner(BOB)).blocked(now + 3_600_001)

        assert during.spared == {friend}
        assert rows.spared == set()


# ---------------------------------------------------------------- whose life is shown


async def test_the_instances_answers_are_not_those_of_people_elsewhere(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, presence="closed", typing="closed") as one:
        await one.register("bob")
        consent = one.wiring.consent

        assert consent.restricts("presence", BOB)
        assert not consent.restricts("presence", "@eve:other.test")
        assert await consent.may_see("@eve:other.test", BOB, "presence")


async def test_a_server_that_is_not_talked_to_is_told_nothing_in_passing(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        path = f"{OURS}/consent/federation/evil.test"
        await one.call("PUT", path, {"state": "denied"}, token=bob)
        consent = one.wiring.consent

        for scope in ("presence", "typing", "receipts"):
            told = await consent.servers_that_may_see(BOB, ["evil.test", "good.test"], scope)
            assert told == {"good.test"}


async def test_a_contacts_server_may_look_its_contact_up(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="closed") as one:
        await one.register("bob")
        consent, access = one.wiring.consent, one.wiring.consent_parts.access
        await consent.set(BOB, "@eve:other.test", "message", "granted", how="wrote first")

        assert await access.may_look_up(BOB, by="other.test")
        assert not await access.may_look_up(BOB, by="third.test")


async def test_to_device_messages_of_the_blocked_are_dropped_and_hold_nothing_up(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        tokens = {name: await one.register(name) for name in ("alice", "bob", "carol")}
        bob = tokens["bob"]
        path = f"{OURS}/consent/message/{ALICE}"
        await one.call("PUT", path, {"state": "denied"}, token=bob)
        since = (await _sync(one, bob))["next_batch"]

        async def send(who: str, kind: str, txn_id: int) -> None:
            messages = {BOB: {"*": {"n": txn_id}}}
            url = f"/sendToDevice/{kind}/{txn_id}"
            await one.call("PUT", url, {"messages": messages}, token=tokens[who])

        for number in range(120):
            await send("alice", "m.key.verification.request", number)
        await send("alice", "m.room.encrypted", 120)
        await send("carol", "m.key.verification.request", 121)
        first = await _sync(one, bob, f"{since}&timeout=30000")
        second = await _sync(one, bob, f"{first['next_batch']}&timeout=30000")

        assert first["to_device"]["events"] == []
        assert [(e["sender"], e["content"]["n"]) for e in second["to_device"]["events"]] == [
            (ALICE, 120),
            (CAROL, 121),
        ]


async def test_inviting_whom_one_blocked_to_a_group_does_not_unblock_them(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        await one.register("alice")
        bob = await one.register("bob")
        path = f"{OURS}/consent/message/{ALICE}"
        await one.call("PUT", path, {"state": "denied"}, token=bob)

        await one.room(bob, invite=[ALICE])

        assert await one.wiring.consent.state(BOB, ALICE, "message") == "denied"
        await direct(one, bob, ALICE)
        assert await one.wiring.consent.state(BOB, ALICE, "message") == "granted"


async def test_many_answers_at_once_are_swept_over_once_or_twice(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        await one.register("bob")
        requests, swept = one.wiring.consent_parts.requests, []
        for number in range(30):
            stranger = f"@stranger{number}:one.test"
            await requests.check(UserId(BOB), stranger, f"!{number}:one.test", is_direct=True)
        sweep = requests.sweep

        async def counted(owner: UserId) -> None:
            swept.append(owner)
            await asyncio.sleep(0.2)
            await sweep(owner)

        monkeypatch.setattr(requests, "sweep", counted)
        await requests.answer_all(UserId(BOB), "accept", how="client")
        await asyncio.sleep(0.5)

        assert 1 <= len(swept) <= 5


# ---------------------------------------------------------------- what other instances say


async def test_what_is_said_of_people_without_a_common_room_is_not_kept(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        await one.register("bob")
        notices = one.wiring.consent_parts.notices
        about = {"peer": BOB, "scope": "message"}
        for number in range(5):
            stranger = {"user_id": f"@user{number}:evil.test", **about}
            await notices.receive_consent("evil.test", {**stranger, "state": "not_given"})
            await notices.receive_consent("evil.test", {**stranger, "state": "granted"})
        nobody = {"user_id": "@eve:evil.test", "peer": "@nobody:one.test", "scope": "message"}
        await notices.receive_consent("evil.test", {**nobody, "state": "not_given"})

        assert await database.fetchval("SELECT count(*) FROM peer_consent") == 0


class _Silent:
    """An instance that never answers."""

    async def forward(self, *_: object) -> None:
        await asyncio.Event().wait()


async def test_a_report_does_not_wait_for_the_senders_instance(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        await one.register("bob")
        parts = one.wiring.consent_parts
        queue = one.wiring.moderation_queue
        parts.requests.abuse = RequestAbuse(queue=queue, forwarder=_Silent())
        await parts.requests.check(UserId(BOB), "@eve:evil.test", "!1:evil.test", is_direct=True)

        async with asyncio.timeout(20):
            await parts.requests.answer_all(UserId(BOB), "report", how="client")

        assert await database.fetchval("SELECT count(*) FROM moderation_queue") == 1


async def test_expired_requests_are_forgotten_in_time(database: Database, tmp_path: Path) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice = await one.register("alice")
        await one.register("bob")
        await direct(one, alice, BOB)
        await database.execute("UPDATE message_requests SET state = 'expired', updated_at = 1")

        await one.wiring.consent_parts.requests.forget_expired()

        assert await database.fetchval("SELECT count(*) FROM message_requests") == 0


async def test_a_call_that_does_not_ring_is_not_counted_either(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, call="closed") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        call = {"call_id": "1", "version": "1", "lifetime": 60_000, "offer": {}, "party_id": "x"}

        await one.call("PUT", f"/rooms/{room_id}/send/m.call.invite/1", call, token=alice)

        (room,) = (await _sync(one, bob))["rooms"]["join"].values()
        assert "m.call.invite" not in str(room)
        assert room["unread_notifications"] == {"notification_count": 0, "highlight_count": 0}


async def test_a_strangers_profile_is_their_name_until_they_are_accepted(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        field = {"test.banner": {"url": "mxc://one.test/shocking"}}
        await one.call("PUT", f"/profile/{ALICE}/test.banner", field, token=alice)
        await direct(one, alice, BOB)

        profile = await one.call("GET", f"/profile/{ALICE}", token=bob)
        await one.call("GET", f"/profile/{ALICE}/test.banner", token=bob, status=404)

        assert profile == {"displayname": "alice"}
        await _answer(one, bob, "accept", sender=ALICE)
        shown = await one.call("GET", f"/profile/{ALICE}/test.banner", token=bob)
        assert shown == field


async def test_who_is_declined_is_still_heard_in_common_groups(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        group = await one.room(bob)
        await one.call("POST", f"/rooms/{group}/join", {}, token=alice)
        chat = (await direct(one, alice, BOB))["room_id"]

        await one.call("POST", f"/rooms/{chat}/leave", {}, token=bob)
        await one.say(alice, group, "to the group")

        assert await one.texts(bob, group) == ["to the group"]
        assert (await direct(one, alice, BOB, status=403))["errcode"] == "M_INVITE_BLOCKED"
        body = {"user_id": BOB, "is_direct": True}
        other = await one.room(alice)
        await one.call("POST", f"/rooms/{other}/invite", body, token=alice, status=403)
        path = f"{OURS}/consent/message/{ALICE}"
        await one.call("PUT", path, {"state": "cleared"}, token=bob)
        await direct(one, alice, BOB)
        (asked,) = (await one.call("GET", f"{OURS}/requests", token=bob))["requests"]
        assert asked["sender"] == ALICE
