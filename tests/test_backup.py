"""A backup taken while the server runs, restored elsewhere, is the same but for one-time keys."""

from __future__ import annotations

import asyncio
import secrets
import stat
from pathlib import Path

import yaml
from click.testing import CliRunner

from homeserver.cli import main
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.single import running

KEY = {"key": "x", "signatures": {}}


def write_config(directory: Path, dsn: str) -> Path:
    directory.mkdir()
    path = directory / "comity.yaml"
    path.write_text(
        yaml.safe_dump({"server_name": "one.test", "data_dir": ".", "database": {"dsn": dsn}})
    )
    return path


def comity(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


async def fill(database: Database, directory: Path) -> str:
    """A room with a message, a media file and a one-time key; the room's ID."""
    async with running(database, directory, data_dir=str(directory)) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice, name="Tea")
        await one.say(alice, room_id, "keep this")
        upload = {"Authorization": f"Bearer {alice}", "Content-Type": "text/plain"}
        async with one.client.post(
            "/_matrix/media/v3/upload", data=secrets.token_bytes(5000), headers=upload
        ) as response:
            assert response.status == 200
        keys = {"one_time_keys": {"signed_curve25519:AAAA": KEY}}
        await one.call("POST", "/keys/upload", keys, token=alice)
    return room_id


async def in_thread(*arguments: str) -> str:
    return await asyncio.to_thread(comity, *arguments)


async def test_what_is_backed_up_comes_back(postgres: TestPostgres, tmp_path: Path) -> None:
    old_dsn, new_dsn = await postgres.create_database(), await postgres.create_database()
    old_config = write_config(tmp_path / "old", old_dsn)
    old = await Database.connect(old_dsn, min_size=1, max_size=8)
    (tmp_path / "old" / "signing.key").write_text("ed25519 a_1 " + "A" * 43 + "\n")
    policy_key = "ed25519 policy_server " + "B" * 43 + "\n"
    (tmp_path / "old" / "policy_server.key").write_text(policy_key)
    room_id = await fill(old, tmp_path / "old")
    old_config = tmp_path / "old" / "comity.yaml"
    old_config.write_text(
        yaml.safe_dump({"server_name": "one.test", "data_dir": ".", "database": {"dsn": old_dsn}})
    )
    archive = tmp_path / "comity.tar.gz"

    await in_thread("backup", str(archive), "--config", str(old_config))
    new_config = write_config(tmp_path / "new", new_dsn)
    await in_thread("restore", str(archive), "--config", str(new_config))

    new = await Database.connect(new_dsn, min_size=1, max_size=2)
    for table in ("events", "accounts", "memberships", "state_entries", "media"):
        query = f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t"
        assert await new.fetchrow(query) == await old.fetchrow(query), table
    assert await old.fetchval("SELECT count(*) FROM one_time_keys") == 1
    assert await new.fetchval("SELECT count(*) FROM one_time_keys") == 0
    last = "SELECT last_value FROM log_position"
    assert await new.fetchval(last) == await old.fetchval(last)
    assert await new.fetchval("SELECT room_id FROM rooms") == room_id
    assert (tmp_path / "new" / "signing.key").read_text().startswith("ed25519 a_1 ")
    assert (tmp_path / "new" / "policy_server.key").read_text() == policy_key
    old_files = {p.read_bytes() for p in (tmp_path / "old" / "media").rglob("*") if p.is_file()}
    new_files = {p.read_bytes() for p in (tmp_path / "new" / "media").rglob("*") if p.is_file()}
    assert new_files == old_files
    old_keys, new_keys = tmp_path / "old" / "media.keys", tmp_path / "new" / "media.keys"
    assert new_keys.read_bytes() == old_keys.read_bytes()
    assert stat.S_IMODE(new_keys.stat().st_mode) == 0o600
    await old.close()
    await new.close()


async def test_nothing_is_restored_over_accounts(postgres: TestPostgres, tmp_path: Path) -> None:
    dsn = await postgres.create_database()
    config = write_config(tmp_path / "one", dsn)
    await in_thread("user", "add", "alice", "--password", "pw", "--config", str(config))
    archive = tmp_path / "comity.tar.gz"
    await in_thread("backup", str(archive), "--config", str(config))

    result = CliRunner()
    answer = await asyncio.to_thread(
        result.invoke, main, ["restore", str(archive), "--config", str(config)]
    )

    assert answer.exit_code != 0
    assert "accounts" in answer.output
