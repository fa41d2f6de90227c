"""``comity appservice`` and what ``comity config check`` says of registration files."""

from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from homeserver.cli import main
from homeserver.services.appservices.registration import load_registrations


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def config(directory: Path, *services: str) -> str:
    path = directory / "comity.yaml"
    path.write_text(yaml.safe_dump({"server_name": "one.test", "app_services": list(services)}))
    return str(path)


def test_a_new_registration_is_good_and_nobody_elses_to_read(tmp_path: Path) -> None:
    code, said = run("appservice", "new", "irc", "--config", config(tmp_path))
    path = tmp_path / "irc.yaml"

    (service,) = load_registrations([str(path)], tmp_path, "one.test")
    checked = run("config", "check", "--config", config(tmp_path, "irc.yaml"))

    assert code == 0
    assert str(path) in said
    assert path.stat().st_mode & 0o077 == 0
    assert service.has_alone("users", "@_irc_ann:one.test")
    assert not service.has_alone("users", "@_irc_ann:one-test")
    assert checked == (0, "the configuration of one.test is good\n")


def test_a_registration_is_not_replaced(tmp_path: Path) -> None:
    run("appservice", "new", "irc", "--config", config(tmp_path))
    before = (tmp_path / "irc.yaml").read_text()

    code, said = run("appservice", "new", "irc", "--config", config(tmp_path))

    assert code == 1
    assert "there already" in said
    assert (tmp_path / "irc.yaml").read_text() == before


def test_config_check_reads_registrations(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("id: irc")

    code, said = run("config", "check", "--config", config(tmp_path, "bad.yaml", "absent.yaml"))

    assert code == 1
    assert "app_services.0 (bad.yaml): as_token: missing" in said
    assert "app_services.1 (absent.yaml): cannot be read" in said
