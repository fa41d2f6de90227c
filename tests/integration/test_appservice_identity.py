"""Application services act as their users: registration, masquerading, names, devices, time."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.appservice_world import AS_TOKEN, BOT, bridged
from tests.integration.test_terms import terms

GHOST = "@_irc_ann:one.test"


async def test_a_service_registers_and_acts_as_its_users(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        as_bot = await world.call("GET", "/account/whoami")
        unregistered = await world.call("GET", "/account/whoami", user=GHOST, status=403)
        made = await world.ghost("ann")
        as_ghost = await world.call("GET", "/account/whoami", user=GHOST)
        in_query = await world.call("GET", "/account/whoami", token="", access_token=AS_TOKEN)
        again = await world.call(
            "POST",
            "/register",
            {"type": "m.login.application_service", "username": "_irc_ann"},
            status=400,
        )

        assert (as_bot["user_id"], in_query["user_id"]) == (BOT, BOT)
        assert unregistered["errcode"] == "M_FORBIDDEN"
        assert (made, as_ghost["user_id"]) == (GHOST, GHOST)
        assert again["errcode"] == "M_USER_IN_USE"


async def test_a_service_acts_as_nobody_else(database: Database, tmp_path: Path) -> None:
    async with bridged(database, tmp_path) as world:
        await world.one.register("alice")

        for user in ("@alice:one.test", "@_irc_x:two.test", "nobody", ""):
            refused = await world.call("GET", "/account/whoami", user=user, status=403)
            assert refused["errcode"] == "M_FORBIDDEN"


async def test_a_token_that_is_no_services_registers_and_logs_in_nobody(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice = await world.one.register("alice")
        body = {"type": "m.login.application_service", "username": "_irc_x", "identifier": {}}
        refusals = (("/register", 401, "M_UNKNOWN_TOKEN"), ("/login", 403, "M_FORBIDDEN"))
        for path, status, errcode in refusals:
            without = await world.one.call("POST", path, body, status=401)
            wrong = await world.one.call("POST", path, body, token=alice, status=status)

            assert without["errcode"] == "M_MISSING_TOKEN"
            assert wrong["errcode"] == errcode


async def test_names_of_a_service_are_its_own_and_only_they_are(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice = await world.one.register("alice")
        room_id = await world.one.room(alice)
        person = {"username": "_irc_x", "password": "sesame", "auth": {"type": "m.login.dummy"}}
        alias = {"room_id": room_id}
        of_bridge, of_people = "/directory/room/%23_irc_a:one.test", "/directory/room/%23b:one.test"

        answers = [
            await world.one.call("POST", "/register", person, status=400),
            await world.one.call("GET", "/register/available?username=_irc_x", status=400),
            await world.one.call("PUT", of_bridge, alias, token=alice, status=400),
            await world.one.call(
                "POST", "/createRoom", {"room_alias_name": "_irc_q"}, token=alice, status=400
            ),
            await world.call(
                "POST",
                "/register",
                {"type": "m.login.application_service", "username": "bob"},
                status=400,
            ),
            await world.call("PUT", of_people, alias, status=400),
            await world.call(
                "POST",
                "/login",
                {
                    "type": "m.login.application_service",
                    "identifier": {"type": "m.id.user", "user": "alice"},
                },
                status=400,
            ),
        ]
        await world.call("POST", f"/join/{room_id}", {})
        await world.call("PUT", of_bridge, alias)
        answers.append(await world.one.call("DELETE", of_bridge, token=alice, status=400))

        assert [answer["errcode"] for answer in answers] == ["M_EXCLUSIVE"] * len(answers)
        await world.call("DELETE", of_bridge)


async def test_a_service_logs_in_as_its_users(database: Database, tmp_path: Path) -> None:
    async with bridged(database, tmp_path) as world:
        await world.ghost("ann")
        flows = await world.one.call("GET", "/login")
        body = {
            "type": "m.login.application_service",
            "identifier": {"type": "m.id.user", "user": "_irc_ann"},
            "device_id": "BRIDGE",
        }

        tokens = await world.call("POST", "/login", body)

        who = await world.one.call("GET", "/account/whoami", token=tokens["access_token"])
        assert {"type": "m.login.application_service"} in flows["flows"]
        assert (who["user_id"], who["device_id"]) == (GHOST, "BRIDGE")


async def test_one_that_manages_devices_is_given_no_tokens(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path, changes={"io.element.msc4190": True}) as world:
        body = {"type": "m.login.application_service", "username": "_irc_ann"}

        refused = await world.call("POST", "/register", body, status=400)
        await world.call("POST", "/register", {**body, "inhibit_login": True})

        assert refused["errcode"] == "M_APPSERVICE_LOGIN_UNSUPPORTED"


async def test_devices_are_made_used_and_deleted_without_a_password(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        ghost = await world.ghost("ann")
        name = {"display_name": "Bridge"}

        await world.call("PUT", "/devices/ONE", name, user=ghost, status=201)
        await world.call("PUT", "/devices/ONE", {"display_name": "Other"}, user=ghost)
        who = await world.call("GET", "/account/whoami", user=ghost, device_id="ONE")
        unstable = {"org.matrix.msc3202.device_id": "ONE"}
        also = await world.call("GET", "/account/whoami", user=ghost, **unstable)
        listed = await world.call("GET", "/devices", user=ghost)
        await world.call("DELETE", "/devices/ONE", {}, user=ghost)
        gone = await world.call("GET", "/account/whoami", user=ghost, device_id="ONE", status=400)

        assert (who["device_id"], also["device_id"]) == ("ONE", "ONE")
        assert [d["display_name"] for d in listed["devices"]] == ["Other"]
        assert gone["errcode"] == "M_UNKNOWN_DEVICE"


async def test_cross_signing_keys_are_replaced_without_a_password(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        ghost = await world.ghost("ann")

        for key in ("A" * 43, "B" * 43):
            master = {
                "user_id": ghost,
                "usage": ["master"],
                "keys": {f"ed25519:{key}": key},
            }
            body = {"master_key": master}
            await world.call("POST", "/keys/device_signing/upload", body, user=ghost)

        found = await world.call("POST", "/keys/query", {"device_keys": {ghost: []}})
        assert list(found["master_keys"][ghost]["keys"].values()) == ["B" * 43]


async def test_a_service_says_when_an_event_was_sent_and_others_do_not(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        ghost, alice = await world.ghost("ann"), await world.one.register("alice")
        room_id = await world.one.room(alice)
        await world.call("POST", f"/join/{room_id}", {}, user=ghost)

        old = await world.say(ghost, room_id, "long ago", "1", ts=0)
        path = f"/rooms/{room_id}/send/m.room.message/2"
        for ts in (-1, 2**53, "soon"):
            await world.call("PUT", path, {"body": "x"}, user=ghost, ts=ts, status=400)
        topic = f"/rooms/{room_id}/state/m.room.member/{ghost}"
        body = {"membership": "join", "displayname": "Ann"}
        state = await world.call("PUT", topic, body, user=ghost, ts=12_345)
        mine = await world.one.call(
            "PUT", f"{path}?ts=5", {"msgtype": "m.text", "body": "now"}, token=alice
        )

        times = []
        for event_id in (old, state["event_id"], mine["event_id"]):
            event = await world.one.call("GET", f"/rooms/{room_id}/event/{event_id}", token=alice)
            times.append(event["origin_server_ts"])
        assert times[:2] == [0, 12_345]
        assert times[2] > 12_345


async def test_a_service_ends_the_accounts_that_are_its_alone_and_no_persons(
    database: Database, tmp_path: Path
) -> None:
    everybody = {"users": [{"exclusive": False, "regex": "@.*"}]}
    async with bridged(database, tmp_path, changes={"namespaces": everybody}) as world:
        await world.one.register("alice")
        alice = "@alice:one.test"

        as_alice = await world.call("GET", "/account/whoami", user=alice)
        refused = await world.call("POST", "/account/deactivate", {}, user=alice, status=403)

        assert as_alice["user_id"] == alice
        assert refused["errcode"] == "M_FORBIDDEN"


async def test_an_ended_user_does_nothing_more(database: Database, tmp_path: Path) -> None:
    async with bridged(database, tmp_path) as world:
        ghost = await world.ghost("ann")

        await world.call("POST", "/account/deactivate", {}, user=ghost)

        refused = await world.call("GET", "/account/whoami", user=ghost, status=403)
        assert refused["errcode"] == "M_USER_DEACTIVATED"


async def test_limits_spare_those_whose_registration_says_so(
    database: Database, tmp_path: Path
) -> None:
    rates = {"enabled": True, "message": {"per_second": 0.001, "burst": 1}}
    for spared in (True, False):
        path = tmp_path / str(spared)
        path.mkdir()
        changes = {"rate_limited": not spared}
        async with bridged(database, path, changes=changes, rate_limits=rates) as world:
            ghost = await world.ghost(f"ann{spared}".lower())
            body = {"msgtype": "m.text", "body": "x"}
            room_id = (await world.call("POST", "/createRoom", {}, user=ghost))["room_id"]
            bots = (await world.call("POST", "/createRoom", {}))["room_id"]
            send = f"/rooms/{room_id}/send/m.room.message"

            await world.call("PUT", f"{send}/1", body, user=ghost)
            await world.call("PUT", f"{send}/2", body, user=ghost, status=200 if spared else 429)
            for txn in range(3):
                await world.call("PUT", f"/rooms/{bots}/send/m.room.message/{txn}", body)


async def test_terms_are_not_put_to_programs(database: Database, tmp_path: Path) -> None:
    settings = {"registration": terms(), "consent": {"terms_update": "require"}}
    async with bridged(database, tmp_path, **settings) as world:
        ghost = await world.ghost("ann")
        body = {
            "type": "m.login.application_service",
            "identifier": {"type": "m.id.user", "user": ghost},
        }
        token = (await world.call("POST", "/login", body))["access_token"]
        room_id = (await world.call("POST", "/createRoom", {}, user=ghost))["room_id"]

        await world.say(ghost, room_id, "by the service's token", "1")
        await world.one.say(token, room_id, "by a token of its own")


async def test_programs_are_not_asked_whether_they_take_an_invite(
    database: Database, tmp_path: Path
) -> None:
    settings = {"consent": {"defaults": {"group": "ask", "message": "ask"}}}
    async with bridged(database, tmp_path, **settings) as world:
        alice, ghost = await world.one.register("alice"), await world.ghost("ann")

        room_id = await world.one.room(alice, invite=[ghost], preset="private_chat")

        invites = (await world.call("GET", "/sync", user=ghost))["rooms"]["invite"]
        requests = await database.fetch("SELECT 1 FROM message_requests WHERE owner = $1", ghost)
        assert list(invites) == [room_id]
        assert requests == []


async def test_a_services_users_ask_like_everybody_unless_the_admin_exempts_them(
    database: Database, tmp_path: Path
) -> None:
    settings = {"consent": {"defaults": {"group": "closed"}}}
    for exempt in (False, True):
        path = tmp_path / str(exempt)
        path.mkdir()
        async with bridged(database, path, exempt=exempt, **settings) as world:
            name = f"alice{exempt}".lower()
            await world.one.register(name)
            body = {"user_id": f"@{name}:one.test"}
            room_id = (await world.call("POST", "/createRoom", {}))["room_id"]

            status = 200 if exempt else 403
            answer = await world.call("POST", f"/rooms/{room_id}/invite", body, status=status)

            assert answer.get("errcode") == (None if exempt else "M_INVITE_BLOCKED")


async def test_messages_leave_the_server_only_if_the_admin_agreed_for_the_service(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        room_id = (await world.call("POST", "/createRoom", {}))["room_id"]
        body = {"user_id": "@bob:two.test"}

        refused = await world.call("POST", f"/rooms/{room_id}/invite", body, status=403)

        assert refused["errcode"] == "M_CONSENT_NOT_GIVEN"


async def test_a_service_lists_the_members_of_rooms_that_any_of_its_users_is_in(
    database: Database, tmp_path: Path
) -> None:
    """Spec: ``GET /joined_members``: "any of the AS's users must be in the room"."""
    async with bridged(database, tmp_path) as world:
        alice = await world.one.register("alice")
        room_id = await world.one.room(alice)
        path = f"/rooms/{room_id}/joined_members"
        await world.ghost("ann")

        before = await world.call("GET", path, status=403)
        await world.call("POST", f"/join/{room_id}", {}, user=GHOST)
        after = await world.call("GET", path)

        assert before["errcode"] == "M_FORBIDDEN"
        assert set(after["joined"]) == {"@alice:one.test", GHOST}
