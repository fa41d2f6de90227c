"""The sections of the configuration about accounts: registration, mail, whom to turn to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from homeserver.protocol.email_addresses import InvalidEmailAddress, parse_sender

PORTS = {"none": 25, "starttls": 587, "tls": 465}


class InvitationsConfig(Struct, frozen=True):
    """``registration.invitations``; ``enabled`` with what null means filled in."""

    enabled: bool
    per_member: int
    max_days: int


class RegistrationConfig(Struct, frozen=True):
    """``registration``; each of the terms as it stands in the YAML."""

    mode: str
    terms: list[dict[str, Any]]
    invitations: InvitationsConfig
    guests: bool
    require_email: bool


def registration_config(values: dict[str, Any]) -> RegistrationConfig:
    """``registration`` with what null means filled in."""
    invitations = values["invitations"]
    enabled = invitations["enabled"]
    if enabled is None:
        enabled = values["mode"] != "closed"
    return RegistrationConfig(
        **{**values, "invitations": InvitationsConfig(**{**invitations, "enabled": enabled})}
    )


@dataclass(frozen=True, slots=True)
class EmailConfig:
    """``email``; ``host`` None: this instance sends no mail."""

    host: str | None
    port: int
    tls: str
    ca_file: Path | None
    user: str | None
    password: str | None = field(repr=False)
    password_file: Path | None
    sender: str | None
    timeout_seconds: float
    max_queued: int
    allowed_domains: list[str] | None
    reveal_accounts: bool
    next_link_urls: list[str]


class SupportConfig(Struct, frozen=True):
    """``support``; each of the contacts as it stands in the YAML."""

    contacts: list[dict[str, Any]]
    page: str | None
    identity_server: str | None


class EncryptionConfig(Struct, frozen=True):
    """``encryption``."""

    dehydrated_devices: bool


def support_problems(config: SupportConfig) -> Iterator[str]:
    """Contacts who cannot be reached."""
    for number, contact in enumerate(config.contacts):
        if not contact.keys() & {"matrix_id", "email_address"}:
            where = f"support.contacts[{number}]"
            yield f"{where}: missing; it needs a matrix_id, an email_address or both"


def email_config(section: Mapping[str, Any], base: Path) -> EmailConfig:
    """``email`` with what null means filled in, the password read from its file."""
    values = dict(section)
    for name in ("ca_file", "password_file"):
        if values[name] is not None:
            values[name] = (base / Path(values[name]).expanduser()).resolve()
    values["port"] = values["port"] or PORTS[values["tls"]]
    values["sender"] = values.pop("from")
    file = values["password_file"]
    if file is not None and values["password"] is None and file.is_file():
        values["password"] = file.read_text("utf-8").strip()
    return EmailConfig(**values)


def fits_many_hosts(url: str) -> bool:
    """Whether a listed address is a beginning (it ends with ``*``) that does not fix the host."""
    return (
        url.endswith("*")
        and url.lower().startswith(("http:", "https:"))
        and "/" not in url.partition("://")[2]
    )


def email_problems(config: EmailConfig) -> Iterator[str]:
    """Values that are possible one by one but not together."""
    if config.host is not None and config.sender is None:
        yield "email.from: missing; mail needs a sender"
    if config.sender is not None:
        try:
            parse_sender(config.sender)
        except InvalidEmailAddress as error:
            yield f"email.from: found {config.sender[:60]!r}; {error}"
    for key, file in (("ca_file", config.ca_file), ("password_file", config.password_file)):
        if file is not None and not file.is_file():
            yield f"email.{key}: found {str(file)!r}; allowed: a file that exists"
    if (config.user is None) != (config.password is None):
        missing = "user" if config.user is None else "password"
        yield f"email.{missing}: missing; a user and a password go together"
    for url in filter(fits_many_hosts, config.next_link_urls):
        yield (
            f"email.next_link_urls: '{url}' fits many hosts: end its host with a /, as in "
            "https://app/*"
        )
