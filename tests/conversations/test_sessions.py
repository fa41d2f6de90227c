"""Signing in and out, accounts and devices, over real HTTP."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.harness.mailbox import mailbox
from tests.harness.mailbox import settings as mail_settings
from tests.integration.single import Instance, running
from tests.services.sign_in.signed import SECRET, signed

ISSUER = {
    "name": "shop",
    "issuer": "https://shop.test",
    "audience": "https://one.test",
    "secret": SECRET,
}


def jwt(**claims: Any) -> str:
    now = int(time.time())
    return signed(**{"exp": now + 300, "iat": now, **claims})


async def settle(instance: Instance) -> None:
    """As if everybody had signed in an hour ago."""
    await instance.wiring.database.execute(
        "UPDATE devices SET authenticated_at = authenticated_at - 3600000"
    )


async def test_a_password_signs_in(nobody: ApiUser, alice: ApiUser) -> None:
    session = await nobody.post(
        "/sessions",
        {"user": "alice", "password": "sesame", "device_name": "Phone"},
        status=201,
    )
    by_address = await nobody.post(
        "/sessions", {"user": "alice@one.test", "password": "sesame"}, status=201
    )

    assert session["person"] == {
        "address": "alice@one.test",
        "name": "alice",
        "avatar": None,
        "is_local": True,
    }
    assert session["access_token"] != by_address["access_token"]
    device = ApiUser(nobody.instance, "alice", session["access_token"])
    current = await device.get("/sessions/current")
    assert current["device"]["name"] == "Phone"
    assert current["device"]["id"] == session["device_id"]
    assert current["fresh_until"] is not None
    whoami = await device.matrix("GET", "/account/whoami")
    assert whoami["user_id"] == "@alice:one.test"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"user": "alice", "password": "wrong"}, 403, "forbidden"),
        ({"user": "nobody", "password": "sesame"}, 403, "forbidden"),
        ({"user": "alice@two.test", "password": "sesame"}, 403, "forbidden"),
        ({"password": "sesame"}, 400, "invalid_parameter"),
        ({"user": "alice"}, 400, "invalid_parameter"),
        ({}, 400, "invalid_parameter"),
        ({"jwt": "a.b.c"}, 403, "forbidden"),
        ({"login_token": "cml_x"}, 403, "forbidden"),
        ({"user": "alice", "login_token": "cml_x"}, 400, "invalid_parameter"),
        ({"user": "alice", "password": "sesame", "jwt": "a.b.c"}, 400, "invalid_parameter"),
        ({"user": "alice", "pasword": "sesame"}, 422, "invalid_body"),
        ({"user": "alice\0", "password": "sesame"}, 403, "forbidden"),
        ({"user": "alice", "password": "sesame", "device_id": "a\0b"}, 422, "invalid_body"),
    ],
)
async def test_what_does_not_sign_in(
    nobody: ApiUser, alice: ApiUser, body: Any, status: int, code: str
) -> None:
    problem = await nobody.post("/sessions", body, status=status)

    assert problem["code"] == code


async def test_an_applications_token_signs_in(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, jwt={"issuers": [ISSUER]}) as instance:
        nobody = ApiUser(instance, "nobody", "")

        session = await nobody.post("/sessions", {"jwt": jwt(sub="erin")}, status=201)
        ways = await nobody.get("/sessions/ways")

        assert session["person"]["address"] == "erin@one.test"
        assert session["person"]["name"] == "Alice Archer"
        assert ways["jwt"] is True
        assert ways["registration"] == "open"


async def test_a_session_is_refreshed(nobody: ApiUser, alice: ApiUser) -> None:
    session = await nobody.post(
        "/sessions", {"user": "alice", "password": "sesame", "refreshable": True}, status=201
    )

    tokens = await nobody.post("/sessions/refresh", {"refresh_token": session["refresh_token"]})
    device = ApiUser(nobody.instance, "alice", tokens["access_token"])
    current = await device.get("/sessions/current")
    old = ApiUser(nobody.instance, "alice", session["access_token"])
    problem = await old.get("/sessions/current", status=401)

    assert current["device"]["id"] == session["device_id"]
    assert problem["code"] == "unauthenticated"


async def test_signing_out_ends_the_token(alice: ApiUser) -> None:
    await alice.call("DELETE", "/sessions/current")

    await alice.get("/me", status=401)


async def test_an_account_is_made_where_registration_is_open(nobody: ApiUser) -> None:
    session = await nobody.post(
        "/accounts",
        {"user_name": "Frida", "password": "a good one", "name": "Frida K."},
        status=201,
    )
    taken = await nobody.post(
        "/accounts", {"user_name": "frida", "password": "another one"}, status=400
    )
    free = await nobody.get("/accounts/available?user_name=gustav")
    gone = await nobody.get("/accounts/available?user_name=frida")

    assert session["person"]["address"] == "frida@one.test"
    assert session["person"]["name"] == "Frida K."
    assert taken["code"] == "name_taken"
    assert free == {"available": True, "address": "gustav@one.test", "reason": None}
    assert gone["available"] is False


async def test_an_account_takes_a_code_and_terms_where_they_are_asked_for(
    database: Database, tmp_path: Path
) -> None:
    texts = {"en": {"title": "Privacy", "url": "https://one.test/privacy"}}
    registration = {
        "mode": "token",
        "terms": [{"name": "privacy", "version": "2", "languages": texts}],
    }
    async with running(database, tmp_path, registration=registration) as instance:
        nobody = ApiUser(instance, "nobody", "")
        inviter = await instance.wiring.accounts.create("host", "a good password")
        invitation = await instance.wiring.account_parts.invitations.create(inviter)
        body: dict[str, Any] = {"user_name": "hanna", "password": "a good one"}

        ways = await nobody.get("/sessions/ways")
        no_code = await nobody.post("/accounts", body, status=403)
        bad_code = await nobody.post("/accounts", {**body, "code": "guess"}, status=403)
        body["code"] = invitation.code
        no_terms = await nobody.post("/accounts", body, status=403)
        old = {**body, "accept_terms": {"privacy": "1"}}
        old_terms = await nobody.post("/accounts", old, status=403)
        body["accept_terms"] = {"privacy": "2"}
        session = await nobody.post("/accounts", body, status=201)

        assert ways["registration"] == "code"
        assert ways["terms"][0]["languages"] == {"en": "https://one.test/privacy"}
        assert no_code["code"] == "code_required"
        assert bad_code["code"] == "forbidden"
        assert no_terms["code"] == old_terms["code"] == "terms_required"
        assert no_terms["terms"] == {"privacy": "2"}
        assert session["person"]["address"] == "hanna@one.test"


async def test_no_account_is_made_without_the_address_that_it_needs(
    database: Database, tmp_path: Path
) -> None:
    async with mailbox() as box:
        rules = {
            "registration": {"mode": "open", "require_email": True},
            "email": mail_settings(box),
        }
        async with running(database, tmp_path, **rules) as instance:
            nobody = ApiUser(instance, "nobody", "")
            body = {"user_name": "hanna", "password": "a good one"}

            ways = await nobody.get("/sessions/ways")
            refused = await nobody.post("/accounts", body, status=403)

            assert ways["registration"] == "closed"
            assert refused["code"] == "email_required"
            assert "/_comity/account/sign-up" in refused["detail"]
            assert not await instance.wiring.accounts.exists("@hanna:one.test")


async def test_devices_are_listed_renamed_and_signed_out(
    instance: Instance, alice: ApiUser, nobody: ApiUser
) -> None:
    other = await nobody.post(
        "/sessions", {"user": "alice", "password": "sesame", "device_name": "Old phone"}, status=201
    )
    listed = await alice.get("/devices")
    one = await alice.get(f"/devices/{other['device_id']}")
    renamed = await alice.call("PATCH", f"/devices/{other['device_id']}", {"name": "Tablet"})
    await alice.call("DELETE", f"/devices/{other['device_id']}")
    await alice.get(f"/devices/{other['device_id']}", status=404)

    assert len(listed["items"]) == 2
    assert one in listed["items"]
    assert sum(device["current"] for device in listed["items"]) == 1
    assert renamed["name"] == "Tablet"
    await ApiUser(instance, "alice", other["access_token"]).get("/me", status=401)


async def test_an_old_session_proves_itself_before_it_signs_others_out(
    instance: Instance, alice: ApiUser, nobody: ApiUser
) -> None:
    credentials = {"user": "alice", "password": "sesame"}
    others = [await nobody.post("/sessions", credentials, status=201) for _ in range(2)]
    await settle(instance)
    path = f"/devices/{others[0]['device_id']}"

    unproved = await alice.call("DELETE", path, status=403)
    wrong = await alice.call("DELETE", path, {"password": "wrong"}, status=403)
    await alice.call("DELETE", path, {"password": "sesame"})
    refused = await alice.post("/devices/sign-out", {}, status=403)
    done = await alice.post("/devices/sign-out", {"password": "sesame"})

    assert unproved["code"] == refused["code"] == "proof_required"
    assert wrong["code"] == "forbidden"
    assert done == {"signed_out": 1}
    assert len((await alice.get("/devices"))["items"]) == 1


async def test_a_password_is_changed_by_who_proves_the_old_one(
    instance: Instance, alice: ApiUser, nobody: ApiUser
) -> None:
    other = await nobody.post("/sessions", {"user": "alice", "password": "sesame"}, status=201)
    await settle(instance)

    await alice.post("/me/password", {"new_password": "open barley"}, status=403)
    await alice.post("/me/password", {"new_password": "open barley", "password": "sesame"})

    await nobody.post("/sessions", {"user": "alice", "password": "sesame"}, status=403)
    await nobody.post("/sessions", {"user": "alice", "password": "open barley"}, status=201)
    await ApiUser(instance, "alice", other["access_token"]).get("/me", status=401)
    await alice.get("/me")


async def test_an_account_ends_for_who_proves_it(
    instance: Instance, alice: ApiUser, nobody: ApiUser
) -> None:
    await settle(instance)

    await alice.post("/me/delete", {}, status=403)
    await alice.post("/me/delete", {"password": "sesame", "erase": True})

    await alice.get("/me", status=401)
    taken = await nobody.post("/accounts", {"user_name": "alice", "password": "x y z"}, status=400)
    assert taken["code"] == "name_taken"


async def test_the_token_of_somebody_else_proves_nothing(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, jwt={"issuers": [ISSUER]}) as instance:
        nobody = ApiUser(instance, "nobody", "")
        token = (await nobody.post("/sessions", {"jwt": jwt(sub="erin")}, status=201))[
            "access_token"
        ]
        await nobody.post("/sessions", {"jwt": jwt(sub="frank")}, status=201)
        erin = ApiUser(instance, "erin", token)
        await settle(instance)

        await erin.post("/me/delete", {"jwt": jwt(sub="frank")}, status=403)
        await erin.post("/me/delete", {"jwt": jwt(sub="erin")})

        await erin.get("/me", status=401)


async def test_a_login_token_signs_in_once(
    instance: Instance, alice: ApiUser, nobody: ApiUser
) -> None:
    token, _ = await instance.wiring.sessions.new_login_token(UserId(alice.user_id))

    session = await nobody.post("/sessions", {"login_token": token}, status=201)
    await nobody.post("/sessions", {"login_token": token}, status=403)

    assert session["person"]["address"] == alice.address


async def test_two_people_sign_in_as_themselves(instance: Instance) -> None:
    carol, dave = await new_user(instance, "carol"), await new_user(instance, "dave")

    assert (await carol.get("/sessions/current"))["person"]["address"] == "carol@one.test"
    assert (await dave.get("/sessions/current"))["person"]["address"] == "dave@one.test"
