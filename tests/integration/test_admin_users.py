"""Accounts and their sessions through the admin API."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.admin_world import PREFIX, Admin
from tests.integration.single import running

BOB = "@bob:one.test"
CAROL = "@carol:one.test"


async def test_accounts_are_listed_page_by_page_and_found_by_what_they_are(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        await one.register("bob")
        await one.register("carol")
        await admin.call("PUT", f"/users/{CAROL}", {"suspended": True})
        await admin.call("PUT", f"/users/{BOB}", {"locked": True})

        first = await admin.call("GET", "/users?limit=1")
        second = await admin.call("GET", f"/users?limit=1&cursor={first['next']}")
        newest = await admin.call("GET", "/users?order=newest&limit=1")
        older = await admin.call("GET", f"/users?order=newest&limit=5&cursor={newest['next']}")
        found = await admin.call("GET", "/users?search=CARO")
        locked = await admin.call("GET", "/users?locked=true")
        active = await admin.call("GET", "/users?suspended=false&admin=false")

        assert [u["user_id"] for u in first["items"] + second["items"]] == [BOB, CAROL]
        assert [u["user_id"] for u in newest["items"] + older["items"]] == [CAROL, BOB]
        assert [u["user_id"] for u in found["items"]] == [CAROL]
        assert [u["user_id"] for u in locked["items"]] == [BOB]
        assert [u["user_id"] for u in active["items"]] == [BOB]
        refused = await admin.call("GET", "/users?cursor=nonsense", status=400)
        assert refused["errcode"] == "M_INVALID_PARAM"
        await admin.call("GET", "/users?limit=0", status=400)
        await admin.call("GET", "/users?colour=red", status=400)


async def test_an_account_is_made_changed_signed_out_and_ended(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        made = await admin.call(
            "POST", "/users", {"username": "bob", "password": "sesame"}, status=201
        )
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "bob"},
            "password": "sesame",
        }
        token = (await one.call("POST", "/login", login))["access_token"]
        room = await one.room(token)

        details = await admin.call("GET", f"/users/{BOB}")
        devices = await admin.call("GET", f"/users/{BOB}/devices")
        rooms = await admin.call("GET", f"/users/{BOB}/rooms")
        await admin.call("POST", f"/users/{BOB}/password", {"password": "open sesame"})

        assert made["user_id"] == BOB
        assert details["figures"]["joined_rooms"] == 1
        assert len(devices["devices"]) == 1
        assert rooms["items"] == [room]
        await one.call("GET", "/account/whoami", token=token, status=401)
        await one.call("POST", "/login", login, status=403)
        token = (await one.call("POST", "/login", {**login, "password": "open sesame"}))[
            "access_token"
        ]
        left = await admin.call("POST", f"/users/{BOB}/sign_out", {"all": True})
        assert left == {"devices": []}
        await one.call("GET", "/account/whoami", token=token, status=401)
        promoted = await admin.call("PUT", f"/users/{BOB}", {"admin": True})
        assert promoted["admin"] is True
        ended = await admin.call("POST", f"/users/{BOB}/deactivate", {"erase": True})
        assert ended["deactivated_at"] is not None
        assert ended["erased"] is True
        await admin.call("GET", "/users/@nobody:one.test", status=404)
        await admin.call("GET", "/users/@bob:two.test", status=400)
        await admin.call("POST", "/users", {"username": "bob"}, status=400)
        await admin.call("POST", "/users", {"nickname": "bob"}, status=400)


async def test_only_admins_get_in_and_what_they_do_is_kept_without_secrets(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        await one.call("GET", f"{PREFIX}/users", status=401)
        await one.call("GET", f"{PREFIX}/users", token=bob, status=403)
        await one.call("PUT", f"{PREFIX}/users/{BOB}", {"admin": True}, token=bob, status=403)
        await one.wiring.accounts.set_admin(BOB, True)
        admin = Admin(one, bob)
        carol = {"username": "carol", "password": "a secret"}
        await admin.call("POST", "/users", carol, status=201)
        await admin.call("PUT", f"/users/{CAROL}", {"locked": True})
        await admin.call("PUT", "/users/@nobody:one.test", {"locked": True}, status=404)
        block = {"server": "bad.test", "reason": "spam"}
        await one.call("POST", f"{PREFIX}/servers/blocks", block, token=bob)
        path = f"/_matrix/client/v1/admin/lock/{CAROL}"
        await one.call("PUT", path, {"locked": False}, token=bob)

        entries = (await admin.call("GET", "/audit"))["items"]
        own = await admin.call("GET", f"/audit?actor={BOB}&action=change_user&target=carol")

        shown = [(e["actor"], e["action"], e["status"]) for e in reversed(entries)]
        assert shown == [
            (BOB, "create_user", 201),
            (BOB, "change_user", 200),
            (BOB, "change_user", 404),
            (BOB, "block_server", 200),
            (BOB, "put_admin_lock_user", 200),
        ]
        assert entries[-1]["details"] == {"username": "carol", "admin": False}
        assert [e["target"] for e in own["items"]] == [f"/users/{CAROL}"]


async def test_registration_tokens_are_made_changed_and_deleted(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        path = "/registration_tokens"

        made = await admin.call("POST", path, {"uses_allowed": 2}, status=201)
        named = await admin.call("POST", path, {"name": "welcome"}, status=201)
        await admin.call("POST", path, {"name": "welcome"}, status=400)
        limits = {"uses_allowed": 5, "expires_at": None}
        changed = await admin.call("PUT", f"{path}/welcome", limits)
        listed = await admin.call("GET", path)
        await admin.call("DELETE", f"{path}/{made['token']}")

        assert named["uses_allowed"] is None
        assert changed["uses_allowed"] == 5
        assert [t["token"] for t in listed["tokens"]] == [made["token"], "welcome"]
        await admin.call("GET", f"{path}/{made['token']}", status=404)
        assert (await admin.call("GET", f"{path}/welcome"))["uses_completed"] == 0


async def test_the_audit_trail_names_no_registration_token(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        path = "/registration_tokens"

        await admin.call("POST", path, {"name": "welc~ome", "uses_allowed": 2}, status=201)
        await admin.call("PUT", f"{path}/welc~ome", {"uses_allowed": 5, "expires_at": None})
        await admin.call("DELETE", f"{path}/welc%7Eome")

        noted = [
            (entry["target"], entry["details"])
            for entry in (await admin.call("GET", "/audit"))["items"]
            if entry["target"].startswith(path)
        ]
        assert noted == [
            (f"{path}/{{token}}", {}),
            (f"{path}/{{token}}", {"uses_allowed": 5}),
            (path, {"uses_allowed": 2}),
        ]


async def test_statistics_count_users_rooms_and_files(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        await one.room(bob)

        figures = await Admin(one).call("GET", "/statistics")

        assert figures["users"]["active_accounts"] == 1
        assert figures["rooms"]["rooms_with_local_members"] == 1
        assert figures["media"]["local_files"] == 0


async def test_the_document_is_served_and_names_the_older_operations_too(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        document = await one.call("GET", f"{PREFIX}/openapi.json")

        names = [o["operationId"] for entry in document["paths"].values() for o in entry.values()]
        assert len(names) == len(set(names))
        assert f"{PREFIX}/moderation/queue/{{item_id}}" in document["paths"]
        assert document["paths"][f"{PREFIX}/users"]["post"]["responses"]["201"]
