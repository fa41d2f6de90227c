"""Terms: accepted at registration, kept with their versions, asked for again when they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nio  # type: ignore[import-untyped]
import pytest

from homeserver.storage.database import Database
from homeserver.storage.terms import get_accepted
from tests.integration.single import Instance, running

STAGE, DUMMY = "m.login.terms", "m.login.dummy"


def terms(version: str = "1.0", *more: str) -> dict[str, Any]:
    """Settings with a privacy notice, and documents of these names."""
    english = {"title": "Privacy notice", "url": f"https://one.test/privacy-{version}"}
    german = {"title": "Datenschutz", "url": f"https://one.test/datenschutz-{version}"}
    documents = [
        {"name": "privacy", "version": version, "languages": {"en": english, "de": german}},
        *({"name": name, "version": "1", "languages": {"en": english}} for name in more),
    ]
    return {"mode": "open", "terms": documents, "invitations": {"enabled": False}}


async def register(one: Instance, name: str) -> dict[str, Any]:
    body = {"username": name, "password": "sesame"}
    session = (await one.call("POST", "/register", body, status=401))["session"]
    return await accept(one, body, session)


async def accept(one: Instance, body: dict[str, Any], session: str) -> dict[str, Any]:
    """The two stages, as a client goes through them."""
    auth = {"type": STAGE, "session": session}
    left = await one.call("POST", "/register", {**body, "auth": auth}, status=401)
    assert left["completed"] == [STAGE]
    return await one.call("POST", "/register", {**body, "auth": {**auth, "type": DUMMY}})


def nio_client(one: Instance) -> nio.AsyncClient:
    return nio.AsyncClient(str(one.client.make_url("/")).rstrip("/"), "alice")


async def test_a_newcomer_is_shown_the_terms_and_accepts_them(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, registration=terms("1.0", "conduct")) as one:
        body = {"username": "alice", "password": "sesame"}

        challenge = await one.call("POST", "/register", body, status=401)
        answer = await accept(one, body, challenge["session"])

        assert challenge["flows"] == [{"stages": [STAGE, DUMMY]}]
        policies = challenge["params"][STAGE]["policies"]
        assert set(policies) == {"privacy", "conduct"}
        assert policies["privacy"] == {
            "version": "1.0",
            "en": {"name": "Privacy notice", "url": "https://one.test/privacy-1.0"},
            "de": {"name": "Datenschutz", "url": "https://one.test/datenschutz-1.0"},
        }
        accepted = await get_accepted(database, answer["user_id"])
        assert [(a.name, a.version, a.how) for a in accepted] == [
            ("conduct", "1", "registration"),
            ("privacy", "1.0", "registration"),
        ]


async def test_what_was_not_shown_cannot_be_accepted(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=terms()) as one:
        body = {"username": "alice", "password": "sesame"}

        without = await one.call("POST", "/register", {**body, "auth": {"type": STAGE}}, status=401)
        dummy = {"type": DUMMY, "session": without["session"]}
        other = await one.call("POST", "/register", {**body, "auth": dummy}, status=401)

        assert without["errcode"] == "M_MISSING_PARAM"
        assert other["errcode"] == "M_FORBIDDEN"
        assert await database.fetchval("SELECT count(*) FROM accounts") == 0


async def test_terms_that_changed_meanwhile_are_shown_again(
    database: Database, tmp_path: Path
) -> None:
    body = {"username": "alice", "password": "sesame"}
    async with running(database, tmp_path, registration=terms("1.0")) as one:
        session = (await one.call("POST", "/register", body, status=401))["session"]

    async with running(database, tmp_path, registration=terms("2.0")) as one:
        auth = {"type": STAGE, "session": session}
        again = await one.call("POST", "/register", {**body, "auth": auth}, status=401)

        assert again["session"] != session
        assert again["params"][STAGE]["policies"]["privacy"]["version"] == "2.0"


async def test_matrix_nio_registers(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=terms()) as one:
        client = nio_client(one)
        try:
            challenge = await client.register_interactive("alice", "sesame", {})
            auth = {"type": STAGE, "session": challenge.session}
            await client.register_interactive("alice", "sesame", auth)
            done = await client.register("alice", "sesame", session_token=challenge.session)
        finally:
            await client.close()

        assert challenge.stages == [STAGE, DUMMY] and STAGE in challenge.params
        assert done.user_id == "@alice:one.test"
        assert len(await get_accepted(database, "@alice:one.test")) == 1


async def test_the_fallback_page_wants_every_box_ticked(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, registration=terms("1.0", "conduct")) as one:
        body = {"username": "alice", "password": "sesame"}
        session = (await one.call("POST", "/register", body, status=401))["session"]
        path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"

        async with one.client.get(path, headers={"Accept-Language": "de-AT, en;q=0.5"}) as page:
            text = await page.text()
        async with one.client.post(path, data={"accepted": "privacy@1.0"}) as half:
            refused = half.status
        auth = {"type": DUMMY, "session": session}
        both = [("accepted", "privacy@1.0"), ("accepted", "conduct@1")]
        async with one.client.post(path, data=both):
            answer = await one.call("POST", "/register", {**body, "auth": auth})

        assert 'href="https://one.test/datenschutz-1.0"' in text
        assert refused == 400
        assert answer["user_id"] == "@alice:one.test"
        assert len(await get_accepted(database, "@alice:one.test")) == 2


@pytest.mark.parametrize("update", ["notify", "require"])
async def test_a_newer_version_is_asked_for_where_that_is_required(
    database: Database, tmp_path: Path, update: str
) -> None:
    consent = {"terms_update": update}
    async with running(database, tmp_path, registration=terms("1.0"), consent=consent) as one:
        alice = (await register(one, "alice"))["access_token"]
        room_id = await one.room(alice)
        await one.say(alice, room_id, "before")

    async with running(database, tmp_path, registration=terms("2.0"), consent=consent) as one:
        known = await one.call("GET", "/_comity/client/v1/terms", token=alice)
        assert known["missing"] == ["privacy"]
        if update == "notify":
            await one.say(alice, room_id, "after")
            return

        refused = await one.say(alice, room_id, "refused", status=403)
        await one.call("POST", "/createRoom", {}, token=alice, status=403)
        path = "/_comity" + refused["consent_uri"].partition("/_comity")[2]
        async with one.client.get(path + "0") as forged, one.client.get(path) as page:
            statuses, text = (forged.status, page.status), await page.text()
        async with one.client.post(path, data={}) as unticked:
            assert unticked.status == 400
        await one.say(alice, room_id, "refused", status=403)
        async with one.client.post(path, data={"accepted": "privacy@2.0"}) as accepted:
            assert accepted.status == 200
        await one.say(alice, room_id, "after")

        assert refused["errcode"] == "M_CONSENT_NOT_GIVEN"
        assert statuses == (403, 200)
        assert "https://one.test/privacy-2.0" in text
        assert await one.texts(alice, room_id) == ["before", "after"]
        known = await one.call("GET", "/_comity/client/v1/terms", token=alice)
        assert [(a["version"], a["how"]) for a in known["accepted"]] == [
            ("1.0", "registration"),
            ("2.0", "page"),
        ]


async def test_a_client_accepts_only_what_there_is(database: Database, tmp_path: Path) -> None:
    consent = {"terms_update": "require"}
    async with running(database, tmp_path, registration=terms("2.0"), consent=consent) as one:
        await one.wiring.accounts.create("bob", "sesame")
        login = {"identifier": {"type": "m.id.user", "user": "bob"}, "password": "sesame"}
        bob = await one.call("POST", "/login", {"type": "m.login.password", **login})
        token, path = bob["access_token"], "/_comity/client/v1/terms"

        for wrong in ({}, {"accept": {"privacy": "1.0"}}, {"accept": {"other": "2.0"}}):
            await one.call("POST", path, wrong, token=token, status=400)
        answer = await one.call("POST", path, {"accept": {"privacy": "2.0"}}, token=token)

        assert answer["missing"] == []
        await one.room(token)
