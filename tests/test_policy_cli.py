"""``comity policy test``, ``rules`` and ``reload``; SIGHUP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from homeserver.cli import main
from homeserver.config import load_config
from homeserver.protocol.signing import format_signing_key, generate_signing_key
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.harness.ports import free_port
from tests.integration.single import running

ROOT = Path(__file__).parent.parent
CASINO = {"name": "casino", "match": {"keywords": ["casino"]}, "action": "reject"}


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["policy", *map(str, arguments)])
    return result.exit_code, result.output


def rows(output: str) -> dict[str, list[str]]:
    """A table by its first column."""
    cells = [line.split() for line in output.splitlines()[1:]]
    return {line[0]: line[1:] for line in cells if line}


def write_events(path: Path, *texts: str, **changes: Any) -> Path:
    events = [
        {
            "type": "m.room.message",
            "sender": "@bob:two.test",
            "room_id": "!r:one.test",
            "event_id": f"$e{number}",
            "origin_server_ts": number * 1000,
            "content": {"msgtype": "m.text", "body": text},
            **changes,
        }
        for number, text in enumerate(texts)
    ]
    path.write_text("\n".join(json.dumps(event) for event in events))
    return path


def write_rules(path: Path, *rules: Any) -> Path:
    path.write_text(yaml.safe_dump({"policy": {"rules": list(rules)}}))
    return path


# ---------------------------------------------------------------- dry runs on files


def test_rules_are_tried_on_a_file_of_events(tmp_path: Path) -> None:
    rules = write_rules(
        tmp_path / "rules.yaml",
        {"name": "seen", "match": {"server": "two.test"}, "action": "flag"},
        {"name": "trial", "match": {"keywords": ["poker"]}, "action": "hold", "mode": "observe"},
        CASINO,
        {"name": "later", "match": {"keywords": ["casino"]}, "action": "hold"},
    )
    events = write_events(tmp_path / "e.jsonl", "a secret", "casino", "poker", "casino poker")

    code, output = run("test", "--rules", rules, "--events", events)

    assert code == 0, output
    assert rows(output) == {
        "seen": ["enforce", "flag", "4", "$e0", "$e1", "$e2", "$e3"],
        "trial": ["observe", "hold", "2", "$e2", "$e3"],
        "casino": ["enforce", "reject", "2", "$e1", "$e3"],
        "later": ["enforce", "hold", "0"],
        "(no": ["rule", "decides)", "2"],
        "4": ["events"],
    }
    assert "secret" not in output


def test_rates_count_by_the_events_own_time(tmp_path: Path) -> None:
    match = {"rate": {"per": "sender", "count": 2, "seconds": 4}}
    rules = write_rules(tmp_path / "r.yaml", {"name": "fast", "match": match, "action": "throttle"})
    events = write_events(tmp_path / "e.jsonl", *"abcdefgh")

    _, output = run("test", "--rules", rules, "--events", events)

    assert rows(output)["fast"] == ["enforce", "throttle", "3", "$e3", "$e5", "$e7"]


def test_what_a_file_cannot_tell_is_said(tmp_path: Path) -> None:
    match = {"keywords": ["casino"], "standing": "stranger"}
    rules = write_rules(tmp_path / "r.yaml", {"name": "new", "match": match, "action": "hold"})
    events = write_events(tmp_path / "e.jsonl", "casino")

    _, output = run("test", "--rules", rules, "--events", events)

    assert rows(output)["new"] == ["enforce", "hold", "0"]
    assert "they may match too little: new" in output


@pytest.mark.parametrize(
    "line", ["{", "[]", "7", '{"type": "m.x"}', '{"type":"a","sender":"@b:c","content":7}']
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    rules = write_rules(tmp_path / "r.yaml", CASINO)
    events = write_events(tmp_path / "e.jsonl", "hello")
    events.write_text(events.read_text() + "\n\n" + line)

    code, output = run("test", "--rules", rules, "--events", events)

    assert code == 1
    assert f"{events}:3: not an event" in output


def test_rules_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    rules = write_rules(tmp_path / "r.yaml", {**CASINO, "match": {"regex": "("}})
    events = write_events(tmp_path / "e.jsonl", "hello")

    code, output = run("test", "--rules", rules, "--events", events)

    assert code == 1
    assert "policy.rules 'casino': match.regex" in output
    assert run("test", "--rules", rules)[0] == 2


# ---------------------------------------------------------------- dry runs on the database


async def test_rules_are_tried_on_the_last_days(postgres: TestPostgres, tmp_path: Path) -> None:
    dsn = await postgres.create_database()
    database = await Database.connect(dsn, min_size=1, max_size=8)
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        sent = [await one.say(alice, room_id, text) for text in ("hello", "casino", "a casino")]
        old = await one.say(alice, room_id, "an old casino")
    await database.execute(
        "UPDATE events SET origin_server_ts = 0 WHERE event_id = $1", old["event_id"]
    )
    path = tmp_path / "comity.yaml"
    document = {"server_name": "one.test", "database": {"dsn": dsn}, "policy": {"rules": [CASINO]}}
    path.write_text(yaml.safe_dump(document))
    (tmp_path / "data").mkdir(exist_ok=True)
    key = format_signing_key(generate_signing_key(bytes(32), "k"))
    (tmp_path / "data" / "signing.key").write_text(key)
    age = {"account_younger_than": "1d", "standing": "stranger", "msgtype": "*"}
    trial = write_rules(
        tmp_path / "trial.yaml",
        {"name": "mine", "match": {"direction": "local", "msgtype": "*"}, "action": "flag"},
        {"name": "new", "match": age, "action": "hold"},
    )

    ours = await asyncio.to_thread(dry_run, "--config", path)
    others = await asyncio.to_thread(dry_run, "--rules", trial, "--config", path)

    examples = [answer["event_id"] for answer in sent]
    assert rows(ours)["casino"] == ["enforce", "reject", "2", *examples[1:]]
    assert rows(others)["mine"] == ["enforce", "flag", "3", *examples]
    assert rows(others)["new"] == ["enforce", "hold", "3", *examples]
    assert "too little" not in others
    assert await database.fetchval("SELECT count(*) FROM policy_verdicts") == 0
    await database.close()


def dry_run(*arguments: str | Path) -> str:
    """On the last day, in a process of its own."""
    command = comity("policy", "test", "--days", "1", *arguments)
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- a running server


def comity(*arguments: str | Path) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from homeserver.cli import main; main()",
        *map(str, arguments),
    ]


@pytest.fixture
async def served(postgres: TestPostgres, tmp_path: Path) -> Path:
    """The configuration of a server that is not started yet."""
    path = tmp_path / "comity.yaml"
    address = f"127.0.0.1:{free_port()}"
    document = {
        "server_name": "one.test",
        "data_dir": "data",
        "database": {"dsn": await postgres.create_database()},
        "listen": {"client": address, "federation": address},
        "policy": {"rules": [CASINO]},
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def server(served: Path) -> Iterator[subprocess.Popen[str]]:
    """That server in a process of its own."""
    with (served.parent / "log").open("w") as log:
        process = subprocess.Popen(
            comity("up", "--config", served), stdout=log, stderr=log, text=True, cwd=ROOT
        )
        try:
            wait_for(served.parent / "log", "comity is ready")
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(log: Path, words: str, times: int = 1) -> None:
    deadline = time.monotonic() + 60
    while log.read_text().count(words) < times:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_hangup_or_a_command_has_the_rules_read_again(
    served: Path, server: subprocess.Popen[str]
) -> None:
    log = served.parent / "log"
    option = ("--config", served)
    assert rows(run("rules", *option)[1]) == {"casino": ["enforce", "reject", "0"]}

    change_rules(served, CASINO, {**CASINO, "name": "second", "mode": "observe"})
    os.kill(server.pid, signal.SIGHUP)
    wait_for(log, "rules reloaded")
    assert list(rows(run("rules", *option)[1])) == ["casino", "second"]

    change_rules(served, {**CASINO, "name": "third"})
    assert run("reload", *option) == (0, "1 rules are in force\n")
    assert list(rows(run("rules", *option)[1])) == ["third"]

    os.kill(server.pid, signal.SIGHUP)
    wait_for(log, "rules reloaded", 3)
    assert server.poll() is None


def test_a_hangup_with_a_file_that_cannot_be_used_changes_nothing(
    served: Path, server: subprocess.Popen[str]
) -> None:
    good = served.read_text()
    change_rules(served, {**CASINO, "match": {"regex": "("}})

    os.kill(server.pid, signal.SIGHUP)
    wait_for(served.parent / "log", "rules not reloaded")

    assert "match.regex" in (served.parent / "log").read_text()
    assert "Traceback" not in (served.parent / "log").read_text()
    served.write_text(good)
    assert list(rows(run("rules", "--config", served)[1])) == ["casino"]


def change_rules(path: Path, *rules: Any) -> None:
    document = yaml.safe_load(path.read_text())
    document["policy"] = {"rules": list(rules)}
    path.write_text(yaml.safe_dump(document))


def test_a_configuration_with_wrong_rules_is_not_good(tmp_path: Path) -> None:
    path = tmp_path / "comity.yaml"
    path.write_text(
        yaml.safe_dump({"server_name": "a.test", "policy": {"rules": [{**CASINO, "for": "1d"}]}})
    )
    load_config(path, {})

    result = CliRunner().invoke(main, ["config", "check", "--config", str(path)])

    assert result.exit_code == 1
    assert "policy.rules 'casino': for: allowed" in result.output
