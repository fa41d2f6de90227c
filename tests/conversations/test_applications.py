"""Applications and API tokens over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client_api.conversations.rest import ALL
from homeserver.services.conversations.scopes import SCOPES, SESSION
from homeserver.storage.database import Database
from tests.conversations.applications import App, AppUser, administer, new_app
from tests.conversations.conftest import ApiUser
from tests.integration.single import Instance, running


@pytest.fixture
async def app(instance: Instance) -> App:
    return await new_app(instance)


def test_every_operation_names_a_scope_that_there_is() -> None:
    named = {
        f"{operation.method} {operation.path}": operation.scope
        for api in ALL
        for operation in api.operations
        if operation.scope is not None
    }

    unknown = {name: scope for name, scope in named.items() if scope not in {*SCOPES, SESSION}}

    assert named
    assert unknown == {}


# ---------------------------------------------------------------- acting for users


async def session_of(app: App, person: str, *, status: int = 201) -> Any:
    return await app.post(f"/application/users/{person}/sessions", {}, status=status)


async def test_an_application_logs_its_users_in_and_their_accounts_are_made(
    app: App, instance: Instance
) -> None:
    session = await session_of(app, "shop_ann")

    me = await instance.call("GET", "/account/whoami", token=session["access_token"])

    assert session["address"] == "shop_ann@one.test"
    assert me["user_id"] == "@shop_ann:one.test"
    assert me["device_id"] == session["device_id"]


@pytest.mark.parametrize("spelling", ["shop_ann", "shop_ann@one.test", "@shop_ann:one.test"])
async def test_a_user_is_named_in_any_spelling(app: App, spelling: str) -> None:
    await app.post("/application/users", {"localpart": "shop_ann"}, status=201)

    assert (await session_of(app, spelling))["address"] == "shop_ann@one.test"


@pytest.mark.parametrize(
    "person",
    [
        "alice",
        "alice@one.test",
        "shop_ann@other.test",
        "nobody_at_all",
        "shop_Ä",
        "@",
        "a b",
    ],
)
async def test_an_application_does_not_act_for_others(
    app: App, alice: ApiUser, person: str
) -> None:
    problem = await session_of(app, person, status=403)

    assert problem["code"] == "not_your_user"


async def test_an_application_does_not_act_for_an_admin(app: App, instance: Instance) -> None:
    await app.post("/application/users", {"localpart": "shop_boss"}, status=201)
    await instance.wiring.accounts.set_admin("@shop_boss:one.test", True)

    problem = await session_of(app, "shop_boss", status=403)

    assert problem["code"] == "not_your_user"


async def test_an_application_makes_no_accounts_unless_it_may(instance: Instance) -> None:
    app = await new_app(instance, may_create_users=False)

    refused = await session_of(app, "shop_ann", status=403)
    forbidden = await app.post("/application/users", {"localpart": "shop_ann"}, status=403)

    assert (refused["code"], forbidden["code"]) == ("not_your_user", "forbidden")


async def test_without_patterns_its_users_are_those_it_made(
    instance: Instance, alice: ApiUser
) -> None:
    app = await new_app(instance, user_patterns=[])
    made = await app.post("/application/users", {"localpart": "carol", "name": "Carol"}, status=201)

    session = await session_of(app, "carol")
    unmade = await session_of(app, "dave", status=403)
    foreign = await session_of(app, "alice", status=403)

    assert (made["address"], made["name"]) == ("carol@one.test", "Carol")
    assert session["address"] == "carol@one.test"
    assert unmade["code"] == foreign["code"] == "not_your_user"


async def test_names_of_an_application_are_not_for_newcomers(app: App, instance: Instance) -> None:
    request = {"username": "shop_eve", "password": "sesame", "auth": {"type": "m.login.dummy"}}

    refused = await instance.call("POST", "/register", request, status=400)

    assert refused["errcode"] == "M_USER_IN_USE"


async def test_one_application_makes_no_users_of_another(app: App, instance: Instance) -> None:
    other = await new_app(instance, user_patterns=[])

    problem = await other.post("/application/users", {"localpart": "shop_eve"}, status=400)

    assert problem["code"] == "name_taken"


async def test_its_users_are_listed_in_pages(app: App, alice: ApiUser) -> None:
    for name in ("shop_c", "shop_a", "shop_b"):
        await app.post("/application/users", {"localpart": name}, status=201)

    first = await app.get("/application/users?limit=2")
    second = await app.get(f"/application/users?limit=2&cursor={first['next']}")

    assert [user["address"] for user in first["items"]] == ["shop_a@one.test", "shop_b@one.test"]
    assert [user["address"] for user in second["items"]] == ["shop_c@one.test"]
    assert second["next"] is None


async def test_a_pattern_is_no_wildcard_of_the_database(instance: Instance) -> None:
    app = await new_app(instance, user_patterns=["a_b*"])
    await instance.register("axb")

    assert (await app.get("/application/users"))["items"] == []


async def test_a_user_is_made_once_for_each_key(app: App) -> None:
    key = {"Idempotency-Key": "one"}

    first = await app.post("/application/users", {"localpart": "shop_a"}, status=201, headers=key)
    again = await app.post("/application/users", {"localpart": "shop_a"}, status=201, headers=key)
    other = await app.post("/application/users", {"localpart": "shop_a"}, status=400)

    assert first == again
    assert other["code"] == "name_taken"


async def test_an_account_that_has_ended_is_acted_for_no_longer(app: App) -> None:
    session = await session_of(app, "shop_ann")

    await app.call("DELETE", "/application/users/shop_ann")

    problem = await session_of(app, "shop_ann", status=403)
    ended = ApiUser(app.instance, "shop_ann", session["access_token"])
    assert problem["code"] == "account_ended"
    await ended.get("/tokens", status=401)
    assert (await app.get("/application/users"))["items"] == []


async def test_who_names_no_user_acts_as_the_bot(instance: Instance) -> None:
    app = await new_app(instance, bot="shop_bot")

    assert (await app.get("/application"))["bot"] == "shop_bot@one.test"


async def test_only_applications_name_a_user(alice: ApiUser, app: App) -> None:
    problem = await alice.get("/tokens", headers={"Comity-User": "bob"}, status=403)
    personal = await alice.get("/application/users", status=403)

    assert problem["code"] == "application_required"
    assert personal["code"] == "application_required"


async def test_an_application_makes_no_tokens(app: App) -> None:
    body = {"name": "more", "scopes": ["messages:read"]}

    problem = await AppUser(app, "shop_ann").post("/tokens", body, status=403)

    assert (problem["code"], problem["scope"]) == ("insufficient_scope", "session")


# ---------------------------------------------------------------- tokens


async def test_a_token_is_good_for_its_scopes_only(instance: Instance) -> None:
    app = await new_app(instance, token_scopes=["messages:read"])

    problem = await app.get("/application/users", status=403)

    assert (problem["code"], problem["scope"]) == ("insufficient_scope", "users:manage")


async def test_what_an_application_loses_its_tokens_lose(app: App) -> None:
    path = f"/applications/{app.application_id}"

    await administer(app.instance, "PUT", path, {"scopes": ["messages:read"]})

    await app.get("/application/users", status=403)


async def test_a_revoked_token_is_void_at_once(app: App) -> None:
    path = f"/applications/{app.application_id}"
    await app.get("/application")
    (token,) = (await administer(app.instance, "GET", path))["tokens"]

    await administer(app.instance, "DELETE", f"{path}/tokens/{token['id']}")

    problem = await app.get("/application", status=401)
    assert problem["code"] == "unauthenticated"
    assert token["last_used_at"] is not None
    assert app.token.startswith(token["prefix"])
    assert len(token["prefix"]) < 12


async def test_a_deleted_applications_tokens_are_void_at_once(app: App) -> None:
    await session_of(app, "shop_ann")

    await administer(app.instance, "DELETE", f"/applications/{app.application_id}")

    await app.get("/application", status=401)
    assert await app.instance.wiring.accounts.exists("@shop_ann:one.test")


async def test_tokens_outlive_the_server(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as instance:
        app = await new_app(instance)

    async with running(database, tmp_path) as instance:
        app.instance = instance
        answer = await app.get("/application")

    assert answer["name"] == "Shop"


async def test_no_token_is_kept_in_the_clear(app: App, database: Database) -> None:
    (row,) = await database.fetch("SELECT t::text AS text FROM api_tokens t")

    assert app.token not in row["text"]
    assert app.token[11:] not in row["text"]


async def test_personal_tokens_are_made_listed_and_revoked(alice: ApiUser, bob: ApiUser) -> None:
    body = {"name": "backup", "scopes": ["messages:read"], "expires_at": "2999-01-01T00:00:00Z"}
    made = await alice.post("/tokens", body, status=201)
    program = ApiUser(alice.instance, "alice", made["token"])

    listed = await alice.get("/tokens")
    beyond = await program.get("/tokens", status=403)
    await bob.call("DELETE", f"/tokens/{made['info']['id']}", status=404)
    await alice.call("DELETE", f"/tokens/{made['info']['id']}")
    void = await program.get("/tokens", status=401)

    assert [token["name"] for token in listed["items"]] == ["backup"]
    assert listed["items"][0]["expires_at"] == "2999-01-01T00:00:00.000Z"
    assert "token" not in listed["items"][0]
    assert beyond["code"] == "insufficient_scope"
    assert void["code"] == "unauthenticated"


async def test_a_personal_token_ends_with_its_account(alice: ApiUser) -> None:
    body = {"name": "backup", "scopes": ["messages:read"]}
    made = await alice.post("/tokens", body, status=201)
    program = ApiUser(alice.instance, "alice", made["token"])
    await program.get("/tokens", status=403)

    await alice.instance.wiring.accounts.deactivate(program_id(program))

    await program.get("/tokens", status=401)


def program_id(user: ApiUser) -> Any:
    return user.user_id


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scopes": []}, "invalid_parameter"),
        ({"scopes": ["users:manage"]}, "invalid_parameter"),
        ({"scopes": ["session"]}, "invalid_parameter"),
        ({"name": ""}, "invalid_parameter"),
        ({"name": "a\nb"}, "invalid_parameter"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "invalid_parameter"),
        ({"expires_at": "tomorrow"}, "invalid_parameter"),
    ],
)
async def test_an_impossible_token_is_refused(
    alice: ApiUser, change: dict[str, Any], code: str
) -> None:
    body = {"name": "backup", "scopes": ["messages:read"], **change}

    assert (await alice.post("/tokens", body, status=400))["code"] == code


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"user_patterns": ["Shop_*"]},
        {"user_patterns": [""]},
        {"user_patterns": ["a"] * 21},
        {"user_patterns": [1]},
        {"scopes": ["everything"]},
        {"bot": "not a name"},
        {"bot": "alice"},
    ],
)
async def test_an_impossible_application_is_refused(
    instance: Instance, alice: ApiUser, change: dict[str, Any]
) -> None:
    body = {"name": "Shop", **change}

    await administer(instance, "POST", "/applications", body, status=400)

    assert (await administer(instance, "GET", "/applications"))["applications"] == []


async def test_applications_are_for_admins_to_make(instance: Instance, app: App) -> None:
    path = "/_comity/admin/v1/applications"

    await instance.call("POST", path, {"name": "Mine"}, token=app.token, status=401)
    token = await instance.register("mallory")
    await instance.call("POST", path, {"name": "Mine"}, token=token, status=403)
