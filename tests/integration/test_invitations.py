"""Invitations: a link or a code makes an account, and the two are in touch from the start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nio  # type: ignore[import-untyped]
import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.welcome import Welcome
from homeserver.storage.database import Database
from homeserver.storage.terms import get_accepted
from tests.integration.single import Instance, running
from tests.integration.test_terms import terms

PATH = "/_comity/client/v1/invitations"
VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"
ALICE, BOB = "@alice:one.test", "@bob:one.test"
INVITING = {"mode": "closed", "invitations": {"enabled": True}}
FORM = {"username": "bob", "password": "sesame", "repeated": "sesame"}


async def member(one: Instance, name: str = "alice") -> str:
    """The access token of an account that the admin has made."""
    await one.wiring.accounts.create(name, "sesame")
    return await log_in(one, name)


async def log_in(one: Instance, name: str) -> str:
    identifier = {"type": "m.id.user", "user": name}
    body = {"type": "m.login.password", "identifier": identifier, "password": "sesame"}
    token: str = (await one.call("POST", "/login", body))["access_token"]
    return token


async def invite(one: Instance, token: str, **wishes: Any) -> str:
    code: str = (await one.call("POST", PATH, wishes, token=token))["code"]
    return code


async def submit(one: Instance, code: str, **fields: Any) -> tuple[int, str]:
    """Send the form of a link's page; status and text of the answer."""
    async with one.client.post(f"/_comity/join/{code}", data={**FORM, **fields}) as page:
        return page.status, await page.text()


async def assert_in_touch(one: Instance, inviter: str, newcomer: str) -> str:
    """Both are contacts and joined to one direct chat, which both clients know as such."""
    rooms = {}
    for token, peer in ((inviter, BOB), (newcomer, ALICE)):
        sync = await one.call("GET", "/sync", token=token)
        direct = {e["type"]: e["content"] for e in sync["account_data"]["events"]}["m.direct"]
        (room_id,) = direct[peer]
        assert list(sync["rooms"]["join"]) == [room_id]
        assert not sync["rooms"].get("invite")
        rooms[peer] = room_id
    assert len(set(rooms.values())) == 1
    for owner, peer in ((ALICE, BOB), (BOB, ALICE)):
        assert await one.wiring.consent.state(owner, peer, "message") == "granted"
    return room_id


async def test_a_link_makes_an_account_and_a_chat(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=INVITING) as one:
        alice = await member(one)
        made = await one.call("POST", PATH, {"note": "for <Bob>"}, token=alice)
        path = "/_comity/join/" + made["code"]

        async with one.client.get(path) as page:
            text, headers = await page.text(), page.headers
        status, done = await submit(one, made["code"])

        assert made["link"].endswith(path)
        assert ALICE in text and "one.test" in text and "for <Bob>" not in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "script" not in text and "http" not in text.partition("<style>")[0]
        assert (status, BOB in done) == (200, True)
        bob = await log_in(one, "bob")
        room_id = await assert_in_touch(one, alice, bob)
        await one.say(bob, room_id, "hello")
        assert await one.texts(alice, room_id) == ["hello"]
        (listed,) = (await one.call("GET", PATH, token=alice))["invitations"]
        assert (listed["state"], listed["used"], listed["note"]) == ("used", 1, "for <Bob>")
        assert [use["user_id"] for use in listed["used_by"]] == [BOB]


@pytest.mark.parametrize("version", ["10", "12"])
async def test_both_govern_the_chat(database: Database, tmp_path: Path, version: str) -> None:
    rooms = {"default_version": version}
    async with running(database, tmp_path, registration=INVITING, rooms=rooms) as one:
        alice = await member(one)
        await submit(one, await invite(one, alice))
        bob = await log_in(one, "bob")
        room_id = await assert_in_touch(one, alice, bob)

        for token in (alice, bob):
            body = {"join_rule": "public"}
            path = f"/rooms/{room_id}/state/m.room.join_rules"
            await one.call("PUT", path, body, token=token)
            path = f"/rooms/{room_id}/state/m.room.tombstone"
            await one.call("PUT", path, {"replacement_room": "!x", "body": "x"}, token=token)


async def test_matrix_nio_registers_with_a_code_and_terms(
    database: Database, tmp_path: Path
) -> None:
    registration = {**terms(), **INVITING}
    async with running(database, tmp_path, registration=registration) as one:
        alice = await member(one)
        code = await invite(one, alice)
        assert await one.call("GET", f"{VALIDITY}?token={code}") == {"valid": True}
        client = nio.AsyncClient(str(one.client.make_url("/")).rstrip("/"), "bob")
        try:
            challenge = await client.register_interactive("bob", "sesame", {})
            session = {"session": challenge.session}
            token = {"type": "m.login.registration_token", "token": code, **session}
            await client.register_interactive("bob", "sesame", token)
            await client.register_interactive("bob", "sesame", {"type": "m.login.terms", **session})
            done = await client.register("bob", "sesame", session_token=challenge.session)
            await client.sync(timeout=0)
            rooms = dict(client.rooms)
        finally:
            await client.close()

        assert challenge.stages == ["m.login.registration_token", "m.login.terms", "m.login.dummy"]
        assert done.user_id == BOB
        assert len(await get_accepted(database, BOB)) == 1
        assert await one.call("GET", f"{VALIDITY}?token={code}") == {"valid": False}
        room_id = await assert_in_touch(one, alice, done.access_token)
        assert set(rooms[room_id].users) == {ALICE, BOB}


async def test_matrix_nio_registers_with_a_code_alone(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration={"mode": "token"}) as one:
        alice = await member(one)
        code = await invite(one, alice)
        client = nio.AsyncClient(str(one.client.make_url("/")).rstrip("/"), "bob")
        try:
            done = await client.register_with_token("bob", "sesame", code)
        finally:
            await client.close()

        await assert_in_touch(one, alice, done.access_token)


async def test_the_form_says_what_is_wrong_and_keeps_the_code(
    database: Database, tmp_path: Path
) -> None:
    registration = {**terms(), **INVITING}
    async with running(database, tmp_path, registration=registration) as one:
        code = await invite(one, await member(one))

        answers = [
            await submit(one, code, repeated="other"),
            await submit(one, code, password="", repeated=""),
            await submit(one, code),
            await submit(one, code, accepted="privacy@0.9"),
            await submit(one, code, accepted="privacy@1.0", username='"><b>&'),
            await submit(one, code, accepted="privacy@1.0", username="alice"),
        ]
        made, _ = await submit(one, code, accepted="privacy@1.0")

        assert [status for status, _ in answers] == [400] * 6
        for (_, text), words in zip(
            answers,
            ("not the same", "not empty", "not accepted", "not accepted", "&quot;&gt;", "is taken"),
            strict=True,
        ):
            assert words in text
            assert "<b>" not in text and 'role="alert"' in text
        assert made == 200
        assert [a.how for a in await get_accepted(database, BOB)] == ["invitation"]


async def test_void_codes_get_a_page_that_says_so(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=INVITING) as one:
        alice = await member(one)
        used, revoked, expired = [await invite(one, alice) for _ in range(3)]
        await submit(one, used)
        await database.execute("UPDATE invitations SET expires_at = 1 WHERE code = $1", expired)
        await database.execute("UPDATE invitations SET revoked_at = 1 WHERE code = $1", revoked)

        for code, status, words in (
            (used, 410, "has been used"),
            (revoked, 410, "taken back"),
            (expired, 410, "expired"),
            ("nonsense", 404, "no such invitation"),
            ("n" * 500, 404, "no such invitation"),
        ):
            async with one.client.get(f"/_comity/join/{code}") as page:
                text = await page.text()
                assert (page.status, page.content_type) == (status, "text/html")
            assert words in text and "<form" not in text
            assert (await submit(one, code, username="carol"))[0] == status
            assert await one.call("GET", f"{VALIDITY}?token={code}") == {"valid": False}


async def test_a_code_is_never_used_more_often_than_allowed(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, registration=INVITING) as one:
        alice = await member(one)
        code = await invite(one, alice, uses=2)

        answers = await asyncio.gather(
            *(submit(one, code, username=f"user{number}") for number in range(6))
        )

        assert sorted(status for status, _ in answers)[:2] == [200, 200]
        assert sum(status == 200 for status, _ in answers) == 2
        assert await database.fetchval("SELECT count(*) FROM accounts") == 3
        (listed,) = (await one.call("GET", PATH, token=alice))["invitations"]
        assert len(listed["used_by"]) == 2


async def test_members_invite_within_limits(database: Database, tmp_path: Path) -> None:
    limits = {"enabled": True, "per_member": 2, "max_days": 3}
    registration = {"mode": "closed", "invitations": limits}
    async with running(database, tmp_path, registration=registration) as one:
        alice, eve = await member(one), await member(one, "eve")
        short = {"expires_in_days": 1}

        for wrong in (
            {"uses": 0, **short},
            {"uses": 101, **short},
            {"uses": "x", **short},
            {"expires_in_days": 4},
            {"note": "x" * 201, **short},
        ):
            await one.call("POST", PATH, wrong, token=alice, status=400)
        codes = [await invite(one, alice, **short) for _ in range(2)]
        await one.call("POST", PATH, short, token=alice, status=403)
        await one.call("DELETE", f"{PATH}/{codes[0]}", token=eve, status=404)
        await one.call("DELETE", f"{PATH}/{codes[0]}", token=alice)
        await invite(one, alice, **short)

        await one.call("GET", f"{PATH}/{codes[0]}/qr", token=alice, status=404)
        assert len((await one.call("GET", PATH, token=alice))["invitations"]) == 2


@pytest.mark.parametrize(("mode", "allowed"), [("closed", False), ("token", True), ("open", True)])
async def test_who_may_invite_where_nothing_is_set(
    database: Database, tmp_path: Path, mode: str, allowed: bool
) -> None:
    async with running(database, tmp_path, registration={"mode": mode}) as one:
        alice = await member(one)

        await one.call("POST", PATH, {}, token=alice, status=200 if allowed else 403)

        assert (await one.call("GET", PATH, token=alice))["enabled"] is allowed


async def test_the_qr_code_leads_to_the_link(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=INVITING) as one:
        alice = await member(one)
        path = f"{PATH}/{await invite(one, alice)}/qr"
        headers = {"Authorization": f"Bearer {alice}"}

        pictures = {}
        for query, kind in (("", "image/svg+xml"), ("?format=png", "image/png")):
            async with one.client.get(path + query, headers=headers) as response:
                assert (response.status, response.content_type) == (200, kind)
                pictures[kind] = await response.read()
        async with one.client.get(path) as anonymous:
            assert anonymous.status == 401
        await one.call("GET", f"{path}?format=gif", token=alice, status=400)

        assert (
            pictures["image/svg+xml"].startswith(b"<?xml") and b"<path" in pictures["image/svg+xml"]
        )
        assert pictures["image/png"].startswith(b"\x89PNG")


class _Dies(Exception):
    """Stands for the process dying."""


@pytest.mark.parametrize("dies_at", ["grant_if_new", "create", "join", "put_managed"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_welcome_cut_short_is_completed_at_the_next_start(
    database: Database, tmp_path: Path, dies_at: str, before: bool
) -> None:
    async with running(database, tmp_path, registration=INVITING) as one:
        alice = await member(one)
        code = await invite(one, alice)
        wiring = one.wiring

        class Dying:
            """Passes calls on, until the process dies beside one of them."""

            def __init__(self, part: Any) -> None:
                self._part = part

            def __getattr__(self, name: str) -> Any:
                method = getattr(self._part, name)

                async def call(*args: Any, **kwargs: Any) -> Any:
                    if name != dies_at:
                        return await method(*args, **kwargs)
                    if not before:
                        await method(*args, **kwargs)
                    raise _Dies(name)

                return call

        wiring.registration._newcomers = Welcome(  # type: ignore[attr-defined]
            database=database,
            room_version=ROOM_VERSIONS["12"],
            contacts=Dying(wiring.consent),
            chats=Dying(wiring.creation),
            joins=Dying(wiring.membership),
            profiles=wiring.profiles,
            account_data=Dying(wiring.account_data),
            clock_ms=lambda: 0,
        )
        assert (await submit(one, code))[0] == 200
        pending = "SELECT count(*) FROM invitation_uses WHERE welcomed_at IS NULL"
        assert await database.fetchval(pending) == 1

    async with running(database, tmp_path, registration=INVITING) as one:
        for _ in range(1000):
            if not await database.fetchval(pending):
                break
            await asyncio.sleep(0.01)

        await assert_in_touch(one, alice, await log_in(one, "bob"))


async def test_where_there_can_be_no_chat_the_account_stands(
    database: Database, tmp_path: Path
) -> None:
    rules = [{"name": "r", "match": {"event_type": "m.room.member"}, "action": "reject"}]
    policy = {"rules": rules}
    async with running(database, tmp_path, registration=INVITING, policy=policy) as one:
        alice = await member(one)

        status, _ = await submit(one, await invite(one, alice))

        assert status == 200
        assert (await one.call("GET", "/sync", token=await log_in(one, "bob")))["next_batch"]
        pending = "SELECT count(*) FROM invitation_uses WHERE welcomed_at IS NULL"
        assert await database.fetchval(pending) == 0


async def test_member_events_are_no_initial_state(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=INVITING) as one:
        alice, _ = await member(one), await member(one, "bob")
        state = {"type": "m.room.member", "state_key": BOB, "content": {"membership": "invite"}}

        body = {"initial_state": [state]}
        await one.call("POST", "/createRoom", body, token=alice, status=400)
