"""Registration files of application services: read, checked, and asked what they name.

Spec: application service API, registration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import re2
import yaml

from homeserver.config import ConfigError
from homeserver.config_schema import shown, yaml_loader
from homeserver.protocol.identifiers import InvalidIdentifier, UserId

MAX_FILE_BYTES = 1024 * 1024
MAX_REGEX_MEMORY = 8 * 1024 * 1024
LEAST_TOKEN_LENGTH = 8
KINDS = ("users", "aliases", "rooms")
TEXTS = ("id", "as_token", "hs_token", "sender_localpart")
# Each with the names that it had before it was in the specification.
EPHEMERAL = {
    "receive_ephemeral": "ephemeral",
    "push_ephemeral": "ephemeral",
    "de.sorunome.msc2409.push_ephemeral": "de.sorunome.msc2409.ephemeral",
}
ENCRYPTION = ("org.matrix.msc3202",)
DEVICE_MANAGEMENT = ("io.element.msc4190",)
SWITCHES = ("rate_limited", *EPHEMERAL, *ENCRYPTION, *DEVICE_MANAGEMENT)
KNOWN = (*TEXTS, *SWITCHES, "url", "namespaces", "protocols")


class _Wrong(Exception):
    """What is wrong with one key."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A regular expression and whether what it matches is this application service's alone."""

    exclusive: bool
    regex: str
    pattern: Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AppService:
    """An application service as it is registered."""

    id: str
    url: str | None
    as_token_hash: bytes = field(repr=False)
    hs_token: str = field(repr=False)
    sender: UserId
    users: Sequence[Namespace]
    aliases: Sequence[Namespace]
    rooms: Sequence[Namespace]
    rate_limited: bool
    ephemeral_keys: Sequence[str]  # under which it is sent ephemeral events, if it wants them
    encryption: bool  # MSC3202: to-device messages, device lists and key counts
    manages_devices: bool  # MSC4190: it never logs in
    protocols: Sequence[str]
    exempt_from_consent: bool
    file: Path

    def is_interested_in_user(self, user_id: str) -> bool:
        """Whether a local user is its sender, or in its namespaces."""
        return user_id == self.sender or any(n.pattern.match(user_id) for n in self.users)

    def is_interested_in_alias(self, alias: str) -> bool:
        """Whether a room alias is in its namespaces."""
        return any(namespace.pattern.match(alias) for namespace in self.aliases)

    def is_interested_in_room(self, room_id: str) -> bool:
        """Whether a room is in its namespaces by its ID."""
        return any(namespace.pattern.match(room_id) for namespace in self.rooms)

    def has_alone(self, kind: str, name: str) -> bool:
        """Whether nobody else may make this user (``users``) or alias (``aliases``)."""
        if kind == "users" and name == self.sender:
            return True
        namespaces = self.users if kind == "users" else self.aliases
        return any(n.exclusive and n.pattern.match(name) for n in namespaces)


def hash_token(token: str) -> bytes:
    """What is kept of an ``as_token``, so that a look-up takes as long for every guess."""
    return hashlib.sha256(token.encode()).digest()


def load_registrations(
    items: Sequence[str | Mapping[str, Any]], base: Path, server_name: str
) -> list[AppService]:
    """The application services of the configuration's ``app_services``.

    Raises: :class:`ConfigError` with all that is wrong; no complaint shows a token.
    """
    problems: list[str] = []
    found: list[AppService] = []
    for number, item in enumerate(items):
        name = item if isinstance(item, str) else item["file"]
        exempt = not isinstance(item, str) and item.get("exempt_from_consent", False)
        path = (base / Path(name).expanduser()).resolve()
        where = f"app_services.{number} ({name})"
        document = _read(path, where, problems)
        if document is None:
            continue
        wrong = [f"{where}: {problem}" for problem in _wrong(document, server_name)]
        problems += wrong
        if not wrong:
            found.append(_build(document, path, server_name, exempt=exempt))
    problems += _repeated(found)
    if problems:
        raise ConfigError(problems)
    return found


def _read(path: Path, where: str, problems: list[str]) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        document = yaml.load(raw[:MAX_FILE_BYTES].decode(), Loader=yaml_loader())
    except OSError as error:
        problems.append(f"{where}: cannot be read: {error.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError):
        problems.append(f"{where}: not YAML")  # what is wrong might quote a token
    else:
        if isinstance(document, dict):
            return document
        problems.append(f"{where}: found {type(document).__name__}, expected keys and values")
    return None


def _wrong(document: Mapping[str, Any], server_name: str) -> Iterator[str]:
    """What is wrong with a registration, key by key."""
    yield from _wrong_texts(document)
    if "url" not in document:
        yield "url: missing; it must be set (null: it is sent nothing)"
    elif document["url"] not in (None, "") and not _is_url(document["url"]):
        yield f"url: found {shown(document['url'])}; allowed: an http or https address, or null"
    for key in SWITCHES:
        if not isinstance(document.get(key, False), bool | None):
            yield f"{key}: found {shown(document[key])}; allowed: true or false"
    protocols = document.get("protocols") or []
    if not isinstance(protocols, list) or not all(isinstance(p, str) and p for p in protocols):
        yield f"protocols: found {shown(protocols)}; allowed: a list of names"
    localpart = document.get("sender_localpart")
    if isinstance(localpart, str) and _user_id(localpart, server_name) is None:
        yield f"sender_localpart: found {shown(localpart)}; allowed: the localpart of a user ID"
    yield from _wrong_namespaces(document.get("namespaces"))
    for key in document:
        if key not in KNOWN and not _is_foreign(key):
            yield f"{key}: there is no such key; allowed: {', '.join(KNOWN)}, and names with a dot"


def _wrong_texts(document: Mapping[str, Any]) -> Iterator[str]:
    for key in TEXTS:
        try:
            _text(document, key)
        except _Wrong as wrong:
            yield str(wrong)
    for key in ("as_token", "hs_token"):
        token = document.get(key)
        if isinstance(token, str) and token and not _is_token(token):
            yield f"{key}: allowed: at least {LEAST_TOKEN_LENGTH} visible ASCII characters"
    if document.get("as_token") == document.get("hs_token") and "as_token" in document:
        yield "hs_token: is the same as as_token; allowed: two different tokens"


def _is_foreign(key: Any) -> bool:
    """Whether a key is another software's, or of a proposal that is not known here."""
    return isinstance(key, str) and "." in key


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        raise _Wrong(f"{key}: missing; it must be set")
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 255:
        raise _Wrong(f"{key}: allowed: text of 1 to 255 characters")
    return value


def _is_token(token: str) -> bool:
    return len(token) >= LEAST_TOKEN_LENGTH and all("!" <= letter <= "~" for letter in token)


def _is_url(url: Any) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, AttributeError, TypeError):
        return False


def _user_id(localpart: str, server_name: str) -> UserId | None:
    try:
        return UserId.parse(f"@{localpart}:{server_name}")
    except InvalidIdentifier:
        return None


def _wrong_namespaces(namespaces: Any) -> Iterator[str]:
    if namespaces is None:
        yield "namespaces: missing; it must be set"
        return
    if not isinstance(namespaces, dict):
        yield f"namespaces: found {shown(namespaces)}; allowed: {', '.join(KINDS)}"
        return
    for kind, entries in namespaces.items():
        where = f"namespaces.{kind}"
        if kind not in KINDS:
            yield f"{where}: there is no such key; allowed: {', '.join(KINDS)}"
        elif not isinstance(entries or [], list):
            yield f"{where}: found {shown(entries)}; allowed: a list"
        else:
            for number, entry in enumerate(entries or []):
                try:
                    _namespace(entry)
                except _Wrong as wrong:
                    yield f"{where}.{number}{wrong}"


def _namespace(entry: Any) -> Namespace:
    if not isinstance(entry, dict):
        raise _Wrong(f": found {shown(entry)}; allowed: regex and exclusive")
    regex, exclusive = entry.get("regex"), entry.get("exclusive")
    if not isinstance(exclusive, bool):
        raise _Wrong(".exclusive: must be set to true or false")
    if not isinstance(regex, str) or not regex:
        raise _Wrong(".regex: must be set to a regular expression")
    options = re2.Options()
    options.max_mem = MAX_REGEX_MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return Namespace(exclusive, regex, re2.compile(regex, options))
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise _Wrong(f".regex: found {shown(regex)}, which RE2 does not take: {text}") from error


def _namespaces(document: Mapping[str, Any], kind: str) -> tuple[Namespace, ...]:
    return tuple(_namespace(entry) for entry in document["namespaces"].get(kind) or ())


def _build(
    document: Mapping[str, Any], path: Path, server_name: str, *, exempt: bool
) -> AppService:
    def switch(names: Sequence[str], default: bool = False) -> bool:
        return any(document.get(name, default) for name in names)

    url = document["url"] or None
    return AppService(
        id=document["id"],
        url=url.rstrip("/") if url is not None else None,
        as_token_hash=hash_token(document["as_token"]),
        hs_token=document["hs_token"],
        sender=UserId.parse(f"@{document['sender_localpart']}:{server_name}"),
        users=_namespaces(document, "users"),
        aliases=_namespaces(document, "aliases"),
        rooms=_namespaces(document, "rooms"),
        rate_limited=switch(("rate_limited",), True),
        ephemeral_keys=tuple(
            dict.fromkeys(key for name, key in EPHEMERAL.items() if document.get(name))
        ),
        encryption=switch(ENCRYPTION),
        manages_devices=switch(DEVICE_MANAGEMENT),
        protocols=tuple(dict.fromkeys(document.get("protocols") or ())),
        exempt_from_consent=exempt,
        file=path,
    )


def _repeated(services: Sequence[AppService]) -> Iterator[str]:
    """What two registrations must not share."""
    for what, name in (("id", "id"), ("as_token", "as_token_hash"), ("hs_token", "hs_token")):
        seen: dict[Any, AppService] = {}
        for service in services:
            value = getattr(service, name)
            other = seen.setdefault(value, service)
            if other is not service:
                yield (
                    f"app_services: {other.file.name} and {service.file.name} have the same {what}"
                )
    senders: dict[str, AppService] = {}
    for service in services:
        other = senders.setdefault(service.sender, service)
        if other is not service:
            yield (
                f"app_services: {other.file.name} and {service.file.name} have the same "
                "sender_localpart"
            )
