"""The command line: every command explains itself, and says what is wrong in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from homeserver.cli import LazyGroup, main
from homeserver.cli.policy import PolicyCommands
from homeserver.cli.policy_blocks import parse_span
from tests.conftest import TestPostgres
from tests.services.pictures import encoded, picture


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("command", sorted(LazyGroup.modules))
def test_every_command_has_help(command: str) -> None:
    code, output = run(command, "--help")

    assert code == 0
    assert "Usage:" in output


@pytest.mark.parametrize("command", sorted(PolicyCommands.modules))
def test_every_policy_command_has_help(command: str) -> None:
    code, output = run("policy", command, "--help")

    assert code == 0
    assert "Usage:" in output


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_a_span_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_span(None, None, text) == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "7", "0d", "d", "1y", "-1d", "9999999d"])
def test_what_is_no_span_is_refused_before_anything_happens(text: str) -> None:
    code, output = run("policy", "block", "evil.example", "--for", text)

    assert code == 2
    assert "30m, 12h, 7d or 2w" in output


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, output = run("config", "check", "--config", str(tmp_path / "none.yaml"))

    assert code == 1
    assert "none.yaml" in output


def test_every_problem_of_a_configuration_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "comity.yaml"
    path.write_text("server_name: one.test\nlog: {format: xml}\nnonsense: 1\n")

    code, output = run("config", "check", "--config", str(path))

    assert code == 1
    assert "log.format" in output
    assert "nonsense" in output


@pytest.fixture
async def config(postgres: TestPostgres, tmp_path: Path) -> str:
    """A configuration on a database of its own."""
    dsn = await postgres.create_database()
    path = tmp_path / "comity.yaml"
    document = {"server_name": "one.test", "data_dir": ".", "database": {"dsn": dsn}}
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_accounts_are_made_and_changed(config: str) -> None:
    option = ("--config", config)

    assert run("user", "add", "alice", "--password", "pw", *option) == (
        0,
        f"wrote {Path(config).parent}/signing.key: keep it secret, and keep a copy\n"
        "made @alice:one.test\n",
    )
    assert run("user", "add", "alice", "--password", "pw", *option)[0] == 1
    assert run("user", "admin", "alice@one.test", *option)[0] == 0
    assert run("user", "list", *option) == (0, "@alice:one.test admin\n")
    assert run("user", "deactivate", "@alice:one.test", *option)[0] == 0
    assert run("user", "deactivate", "nobody", *option)[0] == 1


def test_accounts_are_locked_and_suspended(config: str) -> None:
    option = ("--config", config)
    run("user", "add", "alice", "--password", "pw", *option)
    run("user", "add", "root", "--admin", "--password", "pw", *option)

    assert run("user", "lock", "alice", *option) == (0, "locked @alice:one.test\n")
    assert run("user", "suspend", "alice", *option) == (0, "suspended @alice:one.test\n")
    listed = run("user", "list", *option)[1]
    assert "@alice:one.test locked suspended\n" in listed
    assert run("user", "unlock", "alice", *option)[0] == 0
    assert run("user", "unsuspend", "alice", *option)[0] == 0
    assert "@alice:one.test\n" in run("user", "list", *option)[1]
    assert run("user", "lock", "root", *option)[0] == 1
    assert run("user", "lock", "nobody", *option)[0] == 1


def test_registration_tokens_come_and_go(config: str) -> None:
    option = ("--config", config)

    run("registration-token", "create", "--token", "welcome", "--uses", "2", *option)

    assert run("registration-token", "create", "--token", "welcome", *option)[0] == 1
    assert run("registration-token", "list", *option) == (0, "welcome used 0 of 2\n")
    assert run("registration-token", "revoke", "welcome", *option)[0] == 0
    assert run("registration-token", "list", *option) == (0, "")


def test_a_rotated_key_is_another_one(config: str) -> None:
    option = ("--config", config)
    run("user", "add", "alice", "--password", "pw", *option)
    before = run("keys", "list", *option)

    assert run("keys", "rotate", *option)[0] == 0
    assert run("keys", "list", *option) != before


def test_the_doctor_says_what_to_mend(config: str) -> None:
    code, output = run("doctor", "--config", config)

    assert code == 1
    assert "MEND  signing key" in output
    assert "ok    database" in output
    assert "MEND  delegation and DNS: one.test leads nowhere" in output


# ---------------------------------------------------------------- policy server


def test_the_policy_servers_key_is_made_once_and_shown_with_its_state_event(config: str) -> None:
    first = run("policy-server", "key", "--config", config)
    again = run("policy-server", "key", "--config", config)

    assert first == again
    assert first[0] == 0
    public = first[1].split()[1]
    assert (
        f'm.room.policy {{"via": "one.test", "public_keys": {{"ed25519": "{public}"}}}}'
        in (first[1])
    )
    path = Path(config).with_name("policy_server.key")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.glob("policy_server.*")) == [path]


def test_a_new_policy_key_comes_before_the_old_one(config: str) -> None:
    before = run("policy-server", "key", "--config", config)[1].split()[1]

    code, output = run("policy-server", "rotate", "--config", config)

    after = run("policy-server", "key", "--config", config)[1].split()[1]
    assert code == 0
    assert after in output
    assert after != before
    path = Path(config).with_name("policy_server.key")
    assert len(path.read_text().splitlines()) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_policy_key_file_that_is_none_is_named(config: str) -> None:
    path = Path(config).with_name("policy_server.key")
    path.write_text("nonsense\n")

    code, output = run("policy-server", "key", "--config", config)

    assert code == 1
    assert "policy_server.key" in output
    assert "Traceback" not in output


def test_an_appointment_without_a_running_server_says_so(config: str) -> None:
    key = "ed25519 a_1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    Path(config).with_name("signing.key").write_text(key)

    code, output = run("policy-server", "appoint", "!room", "--config", config)

    assert code == 1
    assert "Is it running?" in output


def test_the_facts_of_a_file_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "cat.txt"
    path.write_bytes(encoded(picture(1)))

    code, output = run("media", "facts", str(path))

    assert code == 0
    assert "image/png" in output
    assert "320 x 240" in output
    assert "perceptual" in output


def test_what_is_no_address_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "comity.yaml"
    path.write_text("server_name: one.test\n")

    code, output = run("media", "release", "https://one.test/cat.png", "--config", str(path))

    assert code == 1
    assert "mxc://server/id" in output
