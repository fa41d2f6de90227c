"""The configuration says what is wrong with it, and its documents name every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.config import ConfigError, load_config
from homeserver.config_schema import leaves

ROOT = Path(__file__).parent.parent


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Any:
    path = tmp_path / "comity.yaml"
    path.write_text(text)
    return load_config(path, environ or {})


def problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, text, environ)
    return str(refusal.value)


def test_a_name_is_all_that_must_be_set(tmp_path: Path) -> None:
    config = load(tmp_path, "server_name: one.test")

    assert config.rooms.default_version == "12"
    assert config.consent.cross_instance == "opt_in"
    assert config.data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "path", "found", "allowed"),
    [
        ("server_name: a.test\nregistration: {mod: open}", "registration.mod", "no such", "mode"),
        ("server_name: a.test\nregistration: {mode: opn}", "registration.mode", "opn", "closed"),
        ("server_name: 'a b'", "server_name", "a b", "after the colon"),
        ("server_name: a.test\nlisten: {client: here}", "listen.client", "here", "address"),
        ("server_name: a.test\nlisten: {client: '::1:0'}", "listen.client", "::1:0", "address"),
        (
            "server_name: a.test\nlisten: {trusted_proxies: [10.0.0.1/8]}",
            "0: found",
            "/8",
            "network",
        ),
        ("server_name: a.test\ndata_dir: 7", "data_dir", "7", "string"),
        ("server_name: a.test\nrate_limits: {enabled: 3}", "rate_limits.enabled", "3", "boolean"),
        ("{}", "server_name", "missing", "must be set"),
        ("server_name: a.test\nlisten: {tls: {key: k.pem}}", "listen.tls", "missing", "together"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, text: str, path: str, found: str, allowed: str
) -> None:
    message = problems(tmp_path, text)

    assert path in message
    assert found in message
    assert allowed in message


def test_a_beginning_of_links_in_mails_fixes_the_host(tmp_path: Path) -> None:
    text = "server_name: a.test\nemail: {next_link_urls: ['%s']}"

    message = problems(tmp_path, text % "https://app.test*")

    assert "email.next_link_urls: 'https://app.test*' fits many hosts" in message
    assert load(tmp_path, text % "https://app.test/*").email.next_link_urls


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    message = problems(tmp_path, "server_name: a.test\nlog: {format: xml, levl: info}")

    assert "log.format" in message
    assert "log.levl" in message


def test_the_environment_stands_above_the_file(tmp_path: Path) -> None:
    environ = {"COMITY_REGISTRATION__MODE": "open", "COMITY_ROOMS__DEFAULT_VERSION": "11"}

    config = load(tmp_path, "server_name: a.test\nregistration: {mode: closed}", environ)

    assert config.registration.mode == "open"
    assert config.rooms.default_version == "11"


def test_a_bad_environment_variable_is_named_by_its_key(tmp_path: Path) -> None:
    message = problems(tmp_path, "server_name: a.test", {"COMITY_RATE_LIMITS__ENABLED": "maybe"})

    assert "rate_limits.enabled" in message


def test_text_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    assert "not YAML" in problems(tmp_path, "server_name: [")


def test_the_sample_has_every_key_with_its_default(tmp_path: Path) -> None:
    sample = load_config(ROOT / "config.sample.yaml", {})
    bare = load(tmp_path, "server_name: example.org")
    document = yaml.safe_load((ROOT / "config.sample.yaml").read_text())

    for key, _ in leaves():
        inner = document
        for part in key.split("."):
            assert part in inner, f"config.sample.yaml lacks {key}"
            inner = inner[part]
    assert sample.rate_limits == bare.rate_limits
    assert sample.federation == bare.federation
    assert sample.consent == bare.consent


def test_the_documentation_has_every_key() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    missing = [key for key, _ in leaves() if f"`{key}`" not in text]

    assert missing == []
