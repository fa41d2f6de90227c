"""Files under the rules, and checkers on real sockets, on one whole instance.

The clamd here speaks the protocol and finds EICAR's test file; it is not ClamAV's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from homeserver.config import ConfigError
from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Database
from homeserver.storage.policy import get_verdicts
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, PEER, LyingPeer
from tests.services.external_checks.scanners import clamd, webhook
from tests.services.pictures import EICAR, encoded, picture

SECRET = "a secret of some length"
HELD = "/_comity/admin/v1/moderation/held_media"
QUEUE = "/_comity/admin/v1/moderation/queue"
PROGRAM = b"\x7fELF\2\1\1" + bytes(60)
UPLOAD = "/_matrix/media/v3/upload"


async def upload(one: Instance, token: str, content: bytes, status: int = 200) -> dict[str, Any]:
    """Upload a file that claims to be a picture."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    async with one.client.post(UPLOAD, data=content, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == status, answer
        return answer


async def download(one: Instance, token: str, uri: str) -> tuple[int, bytes]:
    """Download a file."""
    path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get(path, headers=headers) as response:
        return response.status, await response.read()


async def trail(one: Instance) -> list[tuple[str, str, str]]:
    """Stage, rule and action of each row of the audit trail, the oldest first."""
    await one.wiring.policy.trail.flush()
    rows = await get_verdicts(one.wiring.database)
    return [(row.stage, row.rule, row.action) for row in reversed(rows)]


async def moderator(one: Instance) -> str:
    """A moderator's access token."""
    token = await one.register("moderator")
    await one.wiring.accounts.set_admin("@moderator:one.test", True)
    return token


def asked(url: str, **more: Any) -> dict[str, Any]:
    """The section ``policy`` with one webhook."""
    check = {"name": "hook", "kind": "webhook", "url": url, "message": "Not here.", **more}
    return {"checks_secret": SECRET, "checks": [check]}


# ---------------------------------------------------------------- rules about files


async def test_a_rule_refuses_files_by_what_they_are(database: Database, tmp_path: Path) -> None:
    rule = {
        "name": "no-programs",
        "match": {"mime_type": ["application/x-executable", "application/x-msdownload"]},
        "action": "reject",
        "message": "No programs here.",
    }
    async with running(database, tmp_path, policy={"rules": [rule]}) as one:
        alice = await one.register("alice")

        refused = await upload(one, alice, PROGRAM, 403)
        taken = await upload(one, alice, encoded(picture()))

        assert (refused["errcode"], refused["error"]) == ("M_FORBIDDEN", "No programs here.")
        assert (await download(one, alice, taken["content_uri"]))[0] == 200
        assert [row[1:] for row in await trail(one)] == [("no-programs", "reject")]


async def test_a_known_picture_is_refused_however_it_is_compressed(
    database: Database, tmp_path: Path
) -> None:
    known = picture(3, (640, 480))
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        sent = await upload(one, alice, encoded(known))
        uri = MediaUri("one.test", sent["content_uri"].removeprefix("mxc://one.test/"))
        (facts,) = await one.wiring.check_parts.gate.facts_of([uri])
    (tmp_path / "known.txt").write_text(f"# known\n{facts.perceptual_hash:016x}\n")
    match = {"known_file": {"perceptual": {"file": "known.txt"}, "distance": 8}}
    rule = {"name": "r", "action": "reject", "match": match}

    async with running(database, tmp_path, policy={"rules": [rule]}) as one:
        bob = await one.register("bob")

        await upload(one, bob, encoded(known.resize((320, 240)), "JPEG", quality=50), 403)
        await upload(one, bob, encoded(picture(4)))
        status, _ = await download(one, bob, sent["content_uri"])

        assert status == 403  # uploaded before the rule was there


async def test_a_rule_about_messages_sees_their_files(database: Database, tmp_path: Path) -> None:
    rule = {
        "name": "r",
        "match": {"mime_type": "application/x-executable", "room_kind": ["direct", "group"]},
        "action": "reject",
        "message": "No programs in rooms.",
    }
    async with running(database, tmp_path, policy={"rules": [rule]}) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        program = (await upload(one, alice, PROGRAM))["content_uri"]
        text = (await upload(one, alice, b"a text"))["content_uri"]

        refused = await one.say(alice, room_id, "x", status=403, msgtype="m.file", url=program)
        await one.say(alice, room_id, "y", msgtype="m.file", url=text)

        assert refused["error"] == "No programs in rooms."
        assert await one.texts(alice, room_id) == ["y"]


async def test_what_is_withheld_is_shown_to_moderators_who_decide(
    database: Database, tmp_path: Path
) -> None:
    rule = {"name": "look", "match": {"mime_type": "image/*"}, "action": "hold"}
    async with running(database, tmp_path, policy={"rules": [rule]}) as one:
        alice, admin = await one.register("alice"), await moderator(one)
        contents = [encoded(picture(seed)) for seed in (1, 2)]
        good, bad = [(await upload(one, alice, each))["content_uri"] for each in contents]
        assert (await download(one, alice, good))[0] == 403

        waiting = (await one.call("GET", HELD, token=admin))["media"]
        assert [f"mxc://{each['origin']}/{each['media_id']}" for each in waiting] == [good, bad]
        assert (waiting[0]["uploader"], waiting[0]["action"]) == ("@alice:one.test", "hold")
        path = f"{HELD}/{good.removeprefix('mxc://')}"
        headers = {"Authorization": f"Bearer {admin}"}
        async with one.client.get(path, headers=headers) as response:
            assert await response.read() == contents[0]
            assert response.headers["Content-Disposition"] == "attachment"

        await one.call("POST", f"{path}/release", token=admin)
        await one.call("POST", f"{HELD}/{bad.removeprefix('mxc://')}/refuse", token=admin)

        assert await download(one, alice, good) == (200, contents[0])
        assert (await download(one, alice, bad))[0] == 403
        assert (await one.call("GET", HELD, token=admin))["media"] == []
        await one.call("POST", f"{path}/release", token=admin, status=404)
        await one.call("GET", path, token=admin, status=404)


async def test_held_files_are_for_moderators_only(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, admin = await one.register("alice"), await moderator(one)

        for method, path in (("GET", ""), ("GET", "/a.test/x"), ("POST", "/a.test/x/release")):
            await one.call(method, HELD + path, token=alice, status=403)
        for odd in ("a%00b/x", "a.test/x%00", "a.test/x%2Fy"):
            async with one.client.post(
                URL(f"{HELD}/{odd}/release", encoded=True),
                headers={"Authorization": f"Bearer {admin}"},
            ) as response:
                assert response.status in (400, 404)


# ---------------------------------------------------------------- clamd


@pytest.mark.parametrize(("action", "status"), [("reject", 403), ("hold", 200)])
async def test_a_virus_is_found_at_upload(
    database: Database, tmp_path: Path, action: str, status: int
) -> None:
    async with clamd() as scanner:
        check = {"name": "av", "kind": "clamav", "address": scanner.address, "action": action}
        check |= {"message": "Malware.", "timeout_seconds": 20}
        async with running(database, tmp_path, policy={"checks": [check]}) as one:
            alice = await one.register("alice")

            infected = await upload(one, alice, EICAR, status)
            clean = await upload(one, alice, b"a text")

            assert (await download(one, alice, clean["content_uri"])) == (200, b"a text")
            if action == "reject":
                assert (infected["errcode"], infected["error"]) == ("M_FORBIDDEN", "Malware.")
            else:
                assert (await download(one, alice, infected["content_uri"]))[0] == 403
            assert await trail(one) == [("check", "av", action)]
            assert len(scanner.scanned) == 2


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_without_a_scanner_files_go_by_on_failure(
    database: Database, tmp_path: Path, on_failure: str
) -> None:
    async with clamd() as scanner:
        address = scanner.address
    check = {"name": "av", "kind": "clamav", "address": address, "on_failure": on_failure}
    async with running(database, tmp_path, policy={"checks": [check]}) as one:
        alice = await one.register("alice")

        answer = await upload(one, alice, EICAR, 200 if on_failure == "open" else 403)

        if on_failure == "closed":
            assert "try again later" in answer["error"]
            return
        assert (await download(one, alice, answer["content_uri"]))[0] == 200
        host, _, port = address.rpartition(":")
        server = await asyncio.start_server(scanner.serve, host, int(port))
        assert (await download(one, alice, answer["content_uri"]))[0] == 403
        server.close()


# ---------------------------------------------------------------- webhooks


async def test_a_webhook_fetches_the_file_while_it_is_asked(
    database: Database, tmp_path: Path
) -> None:
    content = encoded(picture())
    fetched: list[tuple[int, bytes]] = []
    links: list[URL] = []

    async with (
        webhook() as service,
        running(database, tmp_path, policy=asked(service.url)) as one,
    ):

        async def fetch(url: URL) -> tuple[int, bytes]:
            async with one.client.get(url.relative()) as response:
                return response.status, await response.read()

        async def look(request: web.Request) -> web.StreamResponse:
            url = URL(service.questions[-1]["download_url"])
            links.append(url)
            fetched.append(await fetch(url))
            fetched.append(await fetch(url.update_query(mac="0" * 64)))
            return web.json_response({"verdict": "allow"})

        service.handler = look
        alice = await one.register("alice")
        uri = (await upload(one, alice, content))["content_uri"]

        assert fetched[0] == (200, content)
        assert fetched[1][0] == 403
        assert (await fetch(links[0]))[0] == 404  # answered: no more
        assert (await download(one, alice, uri))[0] == 200
        assert len(service.questions) == 1


VERDICTS = [("reject", 403), ("hold", 200), ("soft_fail", 200), ("flag", 200), ("allow", 200)]


@pytest.mark.parametrize(("verdict", "status"), VERDICTS)
async def test_a_webhook_decides_about_messages_sent_here(
    database: Database, tmp_path: Path, verdict: str, status: int
) -> None:
    async with webhook() as service:
        match = {"event_type": "m.room.message"}
        settings = asked(service.url, applies_to="events", match=match)
        async with running(database, tmp_path, policy=settings) as one:
            alice, admin = await one.register("alice"), await moderator(one)
            bob = await one.register("bob")
            room_id = await one.room(alice)
            await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
            assert service.questions == []
            service.answer = {"verdict": verdict, "reason": "because"}

            answer = await one.say(alice, room_id, "hello", status=status)

            shown = await one.texts(bob, room_id)
            queue = (await one.call("GET", QUEUE, token=admin))["items"]
            assert shown == (["hello"] if verdict in ("flag", "allow") else [])
            kinds = {"hold": "held", "flag": "flagged"}
            expected = [(kinds[verdict], "hook")] if verdict in kinds else []
            assert [(item["kind"], item["rule"]) for item in queue] == expected
            if verdict == "reject":
                assert (answer["errcode"], answer["error"]) == ("M_FORBIDDEN", "Not here.")
            assert len(service.questions) == 1
            assert service.questions[0]["event"]["content"]["body"] == "hello"


@pytest.mark.parametrize(("on_failure", "status"), [("open", 200), ("closed", 403)])
async def test_a_webhook_that_is_silent_holds_nobody_up_for_long(
    database: Database, tmp_path: Path, on_failure: str, status: int
) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3_600)
        return web.Response()

    async with webhook() as service:
        service.handler = never
        settings = asked(service.url, on_failure=on_failure, timeout_seconds=0.2)
        settings["checks"][0]["match"] = {"event_type": "m.room.message"}
        async with running(database, tmp_path, policy=settings) as one:
            alice = await one.register("alice")
            room_id = await one.room(alice)

            for _ in range(8):
                await one.say(alice, room_id, "hello", status=status)

            assert len(service.questions) == 5
            assert ("check", "hook", "skipped") in await trail(one)


async def test_rules_and_checks_see_the_same_files(database: Database, tmp_path: Path) -> None:
    async with webhook() as service:
        match = {"mime_type": "image/*", "event_type": "m.room.message"}
        settings = asked(service.url, applies_to="events", match=match)
        async with running(database, tmp_path, policy=settings) as one:
            alice = await one.register("alice")
            room_id = await one.room(alice)
            uri = (await upload(one, alice, encoded(picture())))["content_uri"]
            await one.say(alice, room_id, "no picture")

            await one.say(alice, room_id, "a picture", msgtype="m.image", url=uri)

            (question,) = service.questions
            assert question["media"][0]["mime_type"] == "image/png"


# ---------------------------------------------------------------- from elsewhere


@asynccontextmanager
async def met(
    database: Database, tmp_path: Path, policy: dict[str, Any]
) -> AsyncIterator[tuple[Instance, LyingPeer, str]]:
    """An instance, a peer in Alice's room (an honest one), and Alice's access token."""
    federation = {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    }
    settings = {"federation": federation, "consent": {"cross_instance": "implied"}}
    async with running(database, tmp_path, policy=policy, **settings) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        alice = await one.register("alice")
        peer = LyingPeer(one)
        await peer.join(await one.room(alice))
        yield one, peer, alice


async def texts(one: Instance, alice: str, peer: LyingPeer, until: str) -> list[str]:
    """What Alice reads, once the last message is there."""
    async with asyncio.timeout(20):
        while True:
            found = await one.texts(alice, peer.room_id)
            if until in found:
                return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("verdict", ["reject", "soft_fail", "hold", "flag"])
async def test_a_webhook_decides_about_messages_that_arrive(
    database: Database, tmp_path: Path, verdict: str
) -> None:
    async with webhook() as service:

        async def judge(request: web.Request) -> web.StreamResponse:
            spam = "casino" in service.questions[-1]["event"]["content"]["body"]
            return web.json_response({"verdict": verdict if spam else "allow"})

        service.handler = judge
        match = {"event_type": "m.room.message", "direction": "in"}
        settings = asked(service.url, applies_to="events", match=match)
        async with met(database, tmp_path, settings) as (one, peer, alice):
            for text in ("hello", "casino", "good night"):
                await peer.send(peer.message(text))

            shown = await texts(one, alice, peer, "good night")

            flagged = ["casino"] if verdict == "flag" else []
            assert shown == ["hello", *flagged, "good night"]
            assert [row[1:] for row in await trail(one)] == [("hook", verdict)]
            assert service.questions[1]["origin"] == PEER
            assert service.questions[1]["event"]["event_id"].startswith("$")
            admin = await moderator(one)
            queue = (await one.call("GET", QUEUE, token=admin))["items"]
            kinds = {"hold": ["held"], "flag": ["flagged"]}
            assert [item["kind"] for item in queue] == kinds.get(verdict, [])


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_messages_that_arrive_go_by_on_failure(
    database: Database, tmp_path: Path, on_failure: str
) -> None:
    async def lie(request: web.Request) -> web.StreamResponse:
        return web.json_response({"verdict": "everything is fine"})

    async with webhook() as service:
        match = {"keywords": ["casino"], "direction": "in"}
        settings = asked(service.url, applies_to="events", match=match, on_failure=on_failure)
        service.handler = lie
        async with met(database, tmp_path, settings) as (one, peer, alice):
            for text in ("casino", "good night"):
                await peer.send(peer.message(text))

            shown = await texts(one, alice, peer, "good night")

            passed = ["casino"] if on_failure == "open" else []
            assert shown == [*passed, "good night"]
            assert len(service.questions) == 1


# ---------------------------------------------------------------- the configuration


BAD = [
    ({"kind": "webhook", "url": "http://a.test/"}, "secret: missing"),
    ({"kind": "webhook", "url": "http://a.test/", "secret": "short"}, "secret: too short"),
    ({"kind": "webhook", "secret": SECRET}, "url: missing"),
    ({"kind": "clamav"}, "address: missing"),
    ({"kind": "clamav", "address": "a:1", "applies_to": "both"}, "allowed for clamav: media"),
    ({"kind": "clamav", "address": "a:1", "match": {"sise": 1}}, "match.sise: there is no such"),
    (
        {
            "kind": "clamav",
            "address": "a:1",
            "match": {"rate": {"per": "sender", "count": 1, "seconds": 1}},
        },
        "found 'rate' or 'invites'",
    ),
]


@pytest.mark.parametrize(("check", "problem"), BAD)
async def test_a_check_that_cannot_work_is_refused_at_the_start(
    database: Database, tmp_path: Path, check: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        async with running(database, tmp_path, policy={"checks": [{"name": "c", **check}]}):
            pass

    assert "policy.checks 'c'" in str(refusal.value)
    assert problem in str(refusal.value)
    assert "'short'" not in str(refusal.value)
