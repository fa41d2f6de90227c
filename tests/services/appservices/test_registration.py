"""Registration files: what is taken, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.config import ConfigError
from homeserver.services.appservices.registration import AppService, load_registrations

GOOD: dict[str, Any] = {
    "id": "irc",
    "url": "http://127.0.0.1:9000/",
    "as_token": "as-token-1",
    "hs_token": "hs-token-1",
    "sender_localpart": "ircbot",
    "namespaces": {
        "users": [{"exclusive": True, "regex": r"@_irc_.*:one\.test"}],
        "aliases": [{"exclusive": False, "regex": "#_irc_"}],
        "rooms": [{"exclusive": False, "regex": "!logged:"}],
    },
}


def load(directory: Path, *documents: Any) -> list[AppService]:
    names = []
    for number, document in enumerate(documents):
        name = f"{number}.yaml"
        text = document if isinstance(document, str) else yaml.safe_dump(document)
        (directory / name).write_text(text)
        names.append(name)
    return load_registrations(names, directory, "one.test")


def problems(directory: Path, *documents: Any) -> str:
    with pytest.raises(ConfigError) as refusal:
        load(directory, *documents)
    return str(refusal.value)


def test_a_registration_says_what_it_is_interested_in(tmp_path: Path) -> None:
    (service,) = load(tmp_path, GOOD)

    assert service.url == "http://127.0.0.1:9000"
    assert service.sender == "@ircbot:one.test"
    assert service.rate_limited
    assert not service.ephemeral_keys
    assert service.is_interested_in_user("@_irc_ann:one.test")
    assert service.is_interested_in_user("@ircbot:one.test")
    assert not service.is_interested_in_user("@x_irc_ann:one.test")
    assert service.is_interested_in_alias("#_irc_room:one.test")
    assert service.is_interested_in_room("!logged:one.test")
    assert not service.is_interested_in_room("!other:one.test")


def test_only_what_is_exclusive_is_its_alone(tmp_path: Path) -> None:
    (service,) = load(tmp_path, GOOD)

    assert service.has_alone("users", "@_irc_ann:one.test")
    assert service.has_alone("users", "@ircbot:one.test")
    assert not service.has_alone("aliases", "#_irc_room:one.test")


@pytest.mark.parametrize(
    "spelling", ["receive_ephemeral", "push_ephemeral", "de.sorunome.msc2409.push_ephemeral"]
)
def test_ephemeral_events_are_asked_for_in_any_spelling(tmp_path: Path, spelling: str) -> None:
    (service,) = load(tmp_path, {**GOOD, spelling: True})

    assert service.ephemeral_keys == (
        ("de.sorunome.msc2409.ephemeral",) if "sorunome" in spelling else ("ephemeral",)
    )


def test_other_softwares_keys_are_let_pass(tmp_path: Path) -> None:
    (service,) = load(
        tmp_path,
        {
            **GOOD,
            "url": None,
            "org.matrix.msc3202": True,
            "io.element.msc4190": True,
            "com.example.own": {"x": 1},
        },
    )

    assert service.url is None
    assert service.encryption
    assert service.manages_devices


def test_namespaces_may_be_left_out_one_by_one(tmp_path: Path) -> None:
    (service,) = load(tmp_path, {**GOOD, "namespaces": {"users": None}})

    assert not service.users
    assert not service.rooms


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": None}, "id: missing"),
        ({"id": 7}, "id: allowed: text"),
        ({"as_token": "short"}, "as_token: allowed: at least"),
        ({"as_token": "with a space in it"}, "as_token: allowed: at least"),
        ({"hs_token": "as-token-1"}, "two different tokens"),
        ({"url": "ftp://x"}, "url: found the text 'ftp://x'"),
        ({"url": "http://x:99999"}, "url: found"),
        ({"url": 5}, "url: found"),
        ({"sender_localpart": "a:b"}, "sender_localpart: found"),
        ({"rate_limited": "no"}, "rate_limited: found"),
        ({"protocols": "irc"}, "protocols: found"),
        ({"namespaces": None}, "namespaces: missing"),
        ({"namespaces": []}, "namespaces: found"),
        ({"namespaces": {"people": []}}, "namespaces.people: there is no such key"),
        ({"namespaces": {"users": {}}}, None),
        ({"namespaces": {"users": "x"}}, "namespaces.users: found"),
        ({"namespaces": {"users": ["@x"]}}, "namespaces.users.0: found"),
        ({"namespaces": {"users": [{"regex": "x"}]}}, "users.0.exclusive: must be set"),
        ({"namespaces": {"users": [{"exclusive": True}]}}, "users.0.regex: must be set"),
        (
            {"namespaces": {"users": [{"exclusive": True, "regex": "(?=x)"}]}},
            "users.0.regex: found the text '(?=x)', which RE2 does not take",
        ),
        ({"rate_limit": True}, "rate_limit: there is no such key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str | None) -> None:
    document = {**GOOD, **changes}
    if said is None:
        assert load(tmp_path, document)
        return

    assert said in problems(tmp_path, document)


def test_what_is_no_registration_is_refused(tmp_path: Path) -> None:
    assert "not YAML" in problems(tmp_path, "id: [secret-token")
    assert "found list" in problems(tmp_path, "- 1")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_registrations(["absent.yaml"], tmp_path, "one.test")


@pytest.mark.parametrize("shared", ["id", "as_token", "hs_token", "sender_localpart"])
def test_two_do_not_share_what_tells_them_apart(tmp_path: Path, shared: str) -> None:
    other = {
        **GOOD,
        "id": "other",
        "as_token": "as-token-2",
        "hs_token": "hs-token-2",
        "sender_localpart": "otherbot",
        shared: GOOD[shared],
    }

    assert f"0.yaml and 1.yaml have the same {shared}" in problems(tmp_path, GOOD, other)


def test_no_complaint_shows_a_token(tmp_path: Path) -> None:
    document = {**GOOD, "as_token": "my secret token", "hs_token": "my secret token"}

    assert "my secret" not in problems(tmp_path, document)
    assert "as-token-1" not in repr(load(tmp_path, GOOD))
