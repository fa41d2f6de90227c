"""An export has all that the server knows of a user, and nothing that is not theirs to see."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import orjson

from homeserver.protocol.identifiers import UserId
from homeserver.services.sessions import Origin
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

PATH = "/_comity/client/v1/export"
ALICE, BOB = "@alice:one.test", "@bob:one.test"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)


class Archive:
    """An export, opened."""

    def __init__(self, content: bytes) -> None:
        self.zip = zipfile.ZipFile(io.BytesIO(content))
        assert self.zip.testzip() is None

    def text(self, name: str) -> str:
        return self.zip.read(name).decode()

    def json(self, name: str) -> Any:
        return orjson.loads(self.zip.read(name))

    def lines(self, name: str) -> list[Any]:
        return [orjson.loads(line) for line in self.zip.read(name).splitlines()]

    def room(self, room_id: str) -> str:
        """The folder of a room."""
        for name in self.zip.namelist():
            if name.endswith("/room.json") and self.json(name)["room_id"] == room_id:
                return name.removesuffix("/room.json")
        raise AssertionError(f"{room_id} is not in the export")

    def bodies(self, room_id: str) -> list[str]:
        events = self.lines(f"{self.room(room_id)}/messages.jsonl")
        return [e["content"]["body"] for e in events if "body" in e["content"]]


async def finished(one: Instance, token: str) -> dict[str, Any]:
    """The newest export, once it is under way no more."""
    for _ in range(3000):
        newest: dict[str, Any] = (await one.call("GET", PATH, token=token))["exports"][0]
        if newest["state"] not in ("queued", "running"):
            return newest
        await asyncio.sleep(0.01)
    raise AssertionError("the export is not finished")


async def export(one: Instance, token: str) -> Archive:
    await one.call("POST", PATH, {}, token=token)
    done = await finished(one, token)
    assert done["state"] == "ready"
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get(done["download"], headers=headers) as response:
        assert (response.status, response.content_type) == (200, "application/zip")
        content = await response.read()
    assert len(content) == done["size_bytes"]
    return Archive(content)


async def upload(one: Instance, token: str, content: bytes, kind: str = "image/png") -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    path = "/_matrix/media/v3/upload?filename=cat"
    async with one.client.post(path, data=content, headers=headers) as response:
        uri: str = (await response.json())["content_uri"]
        return uri


def place(uri: str, extension: str = ".png") -> str:
    return f"media/{uri.removeprefix('mxc://')}{extension}"


async def test_what_was_said_is_in_it_as_json_and_to_read(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice, name="The <Orchard>")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.say(alice, room_id, "hello")
        await one.say(bob, room_id, "<script>alert(1)</script>")
        gone = (await one.say(bob, room_id, "take this back"))["event_id"]
        await one.call("PUT", f"/rooms/{room_id}/redact/{gone}/1", {}, token=bob)
        for number in range(450):
            await one.say(alice, room_id, f"message {number}")

        archive = await export(one, alice)

        assert archive.bodies(room_id) == [
            "hello",
            "<script>alert(1)</script>",
            *(f"message {number}" for number in range(450)),
        ]
        page = archive.text(f"{archive.room(room_id)}/index.html")
        assert "message 449" in page and "bob (@bob:one.test)" in page
        assert "(deleted)" in page and "take this back" not in page
        assert "<script>" not in page and "&lt;script&gt;" in page
        assert "The &lt;Orchard&gt;" in archive.text("index.html")
        members = archive.lines(f"{archive.room(room_id)}/members.jsonl")
        assert {m["state_key"] for m in members} == {ALICE, BOB}
        state = archive.lines(f"{archive.room(room_id)}/state.jsonl")
        assert "m.room.create" in {e["type"] for e in state}


async def test_history_that_the_user_may_not_see_is_not_in_it(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        visibility = {"history_visibility": "joined"}
        state = [{"type": "m.room.history_visibility", "content": visibility}]
        room_id = await one.room(bob, initial_state=state)
        await one.say(bob, room_id, "before")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)
        await one.say(bob, room_id, "during")
        await one.say(alice, room_id, "mine")
        await one.call("POST", f"/rooms/{room_id}/leave", {}, token=alice)
        await one.say(bob, room_id, "after")
        secret = await one.room(bob, name="secret")
        invited = await one.room(bob, name="come in", invite=[ALICE])

        left = await export(one, alice)
        await one.call("POST", f"/rooms/{room_id}/forget", {}, token=alice)
        one.wiring.rate_limits.reset("export", ALICE)
        forgotten = await export(one, alice)

        assert left.bodies(room_id) == ["during", "mine"]
        assert forgotten.bodies(room_id) == ["mine"]
        assert forgotten.json(f"{forgotten.room(room_id)}/room.json")["messages"] == "your own"
        about = left.json(f"{left.room(invited)}/room.json")
        assert about["your_membership"] == "invite"
        assert "come in" in str(about["seen_before_joining"])
        assert f"{left.room(invited)}/messages.jsonl" not in left.zip.namelist()
        assert all(secret.encode() not in left.zip.read(name) for name in left.zip.namelist())
        assert all(b"after" not in left.zip.read(n) for n in left.zip.namelist() if "rooms/" in n)


async def test_files_are_in_it(database: Database, tmp_path: Path) -> None:
    settings = {"data_dir": str(tmp_path), "exports": {"max_media_bytes": 3_000}}
    async with running(database, tmp_path, **settings) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        picture, mine = await upload(one, bob, PNG), await upload(one, alice, b"a draft", "x/y")
        others = await upload(one, bob, b"bob's own", "text/plain")
        large = await upload(one, alice, b"x" * 3_000, "text/html")
        await one.say(bob, room_id, "a cat", msgtype="m.image", url=picture)
        await one.say(bob, room_id, "gone", msgtype="m.image", url="mxc://two.test/missing")

        archive = await export(one, alice)

        assert archive.zip.read(place(picture)) == PNG
        assert archive.zip.read(place(mine, ".bin")) == b"a draft"
        assert f'src="../../{place(picture)}"' in archive.text(
            f"{archive.room(room_id)}/index.html"
        )
        index = {line["mxc"]: line for line in archive.lines("media/index.jsonl")}
        assert index[picture]["uploaded_by_you"] is False
        assert index[mine] | {"created_at": 0} == {
            "mxc": mine,
            "type": "x/y",
            "name": "cat",
            "size_bytes": 7,
            "created_at": 0,
            "uploaded_by_you": True,
            "file": place(mine, ".bin"),
        }
        assert "too large" in index[large]["left_out"]
        assert "left_out" in index["mxc://two.test/missing"]
        assert others not in index


async def test_what_is_to_be_seen_once_is_not_kept_by_an_export(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        once = {"dev.comity.view_once": True}
        await one.say(bob, room_id, "look, then forget", **once)
        await one.say(alice, room_id, "my own", **once)

        archive = await export(one, alice)

        assert archive.bodies(room_id) == ["my own"]
        assert "look, then" not in archive.text(f"{archive.room(room_id)}/index.html")


async def test_the_account_is_in_it_and_its_secrets_are_not(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        data = f"/user/{ALICE}/account_data"
        secret = {"encrypted": {"key": {"ciphertext": "c2VjcmV0", "iv": "x", "mac": "y"}}}
        await one.call("PUT", f"{data}/dev.example", {"colour": "green"}, token=alice)
        await one.call("PUT", f"{data}/m.cross_signing.master", secret, token=alice)
        rule = {"actions": ["notify"], "pattern": "orchard"}
        await one.call("PUT", "/pushrules/global/content/orchard", rule, token=alice)
        await one.call("PUT", f"/profile/{ALICE}/displayname", {"displayname": "Al"}, token=alice)
        room_id = await one.room(alice)
        event_id = (await one.say(alice, room_id, "x"))["event_id"]
        await one.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}", {}, token=alice)
        for number in range(1_100):
            await one.wiring.consent.set(
                ALICE, f"@peer{number}:two.test", "message", "granted", how="page"
            )
        await one.wiring.consent.set(BOB, ALICE, "message", "revoked", how="page")
        await one.call("POST", "/_comity/client/v1/invitations", {"note": "n"}, token=alice)
        made = await one.wiring.conversations.application_parts.tokens.create(
            user_id=ALICE, name="backup", scopes=["messages:read"], created_by=ALICE
        )
        origin = Origin("192.0.2.7", "A browser")
        cookie = await one.wiring.oauth.browsers.sign_in(UserId(ALICE), None, origin)
        hashes = await database.fetch("SELECT password_hash FROM accounts")

        archive = await export(one, alice)

        about = archive.json("account/account.json")
        assert (about["user_id"], about["profile"]["displayname"]) == (ALICE, "Al")
        kept = {row["type"]: row["content"] for row in archive.lines("account/account_data.jsonl")}
        assert kept["dev.example"] == {"colour": "green"}
        assert "left_out" in kept["m.cross_signing.master"]
        patterns = [
            r.get("pattern") for r in archive.json("account/push_rules.json")["global"]["content"]
        ]
        assert "orchard" in patterns
        (receipt,) = archive.lines("account/receipts.jsonl")
        assert (receipt["room_id"], receipt["event_id"]) == (room_id, event_id)
        history = archive.lines("consent/history.jsonl")
        assert [row["peer"] for row in history] == [f"@peer{n}:two.test" for n in range(1_100)]
        assert [row["note"] for row in archive.lines("account/invitations.jsonl")] == ["n"]
        assert len(archive.lines("account/devices.jsonl")) == 1
        everything = b"".join(archive.zip.read(name) for name in archive.zip.namelist())
        assert [row["name"] for row in archive.lines("account/api_tokens.jsonl")] == ["backup"]
        (browser,) = archive.lines("account/browsers.jsonl")
        assert (browser["last_seen_ip"], browser["user_agent"]) == ("192.0.2.7", "A browser")
        for hidden in (
            "c2VjcmV0",
            alice,
            bob,
            made[0],
            cookie,
            *(row["password_hash"] for row in hashes),
        ):
            assert hidden.encode() not in everything
        assert b"revoked" not in archive.zip.read("consent/history.jsonl")


async def test_it_is_for_its_owner_alone_in_parts_too(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await one.call("POST", PATH, {}, token=alice)
        done = await finished(one, alice)

        headers = {"Authorization": f"Bearer {alice}", "Range": "bytes=0-3"}
        async with one.client.get(done["download"], headers=headers) as part:
            beginning, status = await part.read(), part.status
        async with one.client.get(done["download"]) as anonymous:
            assert anonymous.status == 401
        await one.call("GET", done["download"], token=bob, status=404)
        await one.call("GET", f"{PATH}/nonsense", token=alice, status=404)

        assert (status, beginning) == (206, b"PK\x03\x04")
        assert len(done["id"]) >= 43
        (file,) = (tmp_path / "exports").iterdir()
        assert file.stat().st_mode & 0o077 == 0


async def test_one_at_a_time_and_not_too_often(database: Database, tmp_path: Path) -> None:
    limits = {"enabled": True}
    async with running(database, tmp_path, data_dir=str(tmp_path), rate_limits=limits) as one:
        alice = await one.register("alice")

        first, same = [await one.call("POST", PATH, {}, token=alice) for _ in range(2)]
        await finished(one, alice)
        await one.call("POST", PATH, {}, token=alice)
        await finished(one, alice)
        await one.call("POST", PATH, {}, token=alice, status=429)

        assert first["id"] == same["id"]
        async with asyncio.timeout(20):
            while True:  # the first goes once the second is there
                exports = (await one.call("GET", PATH, token=alice))["exports"]
                if [e["state"] for e in exports] == ["ready", "expired"]:
                    break
                await asyncio.sleep(0.05)
        assert len(list((tmp_path / "exports").iterdir())) == 1


async def test_one_whose_process_died_is_built_by_the_next(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice = await one.register("alice")
        await one.room(alice)
    await database.execute(
        "INSERT INTO exports (export_id, user_id, state, requested_at, expires_at) "
        "VALUES ('died', $1, 'running', 1, 2)",
        ALICE,
    )
    (tmp_path / "exports" / "died.part").write_bytes(b"half")
    (tmp_path / "exports" / "unknown.zip").write_bytes(b"whose?")

    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        done = await finished(one, alice)

        assert (done["id"], done["state"]) == ("died", "ready")
        assert [p.name for p in (tmp_path / "exports").iterdir()] == ["died.zip"]


async def test_after_its_time_it_is_deleted(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice = await one.register("alice")
        await export(one, alice)
        hours = await database.fetchval("SELECT (expires_at - finished_at) / 3600000 FROM exports")
        download = (await finished(one, alice))["download"]
        await database.execute("UPDATE exports SET expires_at = 1")
        await one.call("GET", download, token=alice, status=404)

    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        for _ in range(1000):
            if not list((tmp_path / "exports").iterdir()):
                break
            await asyncio.sleep(0.01)

        assert hours == 48
        assert not list((tmp_path / "exports").iterdir())
        assert (await finished(one, alice))["state"] == "expired"
