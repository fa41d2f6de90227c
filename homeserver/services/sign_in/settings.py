"""What the configuration says of issuers of tokens, and of providers.

Checked here, where no complaint shows a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeserver.config import ConfigError
from homeserver.config_accounts import fits_many_hosts
from homeserver.services.sign_in.mapping import claims_of

LEAST_SECRET_BYTES = 32
DEFAULT_SCOPES = ("openid", "profile")
DEFAULT_NAME = "{preferred_username}"


@dataclass(frozen=True, slots=True)
class Issuer:
    """One of ``jwt.issuers``: whose tokens log people in."""

    name: str
    issuer: str
    audiences: Sequence[str]
    algorithms: Sequence[str]
    secret: str | None = field(repr=False)
    jwks_url: str | None
    jwks_file: Path | None
    leeway_seconds: int
    subject_claim: str
    localpart: str
    display_name: str | None
    create_accounts: bool
    adopt_accounts: bool


@dataclass(frozen=True, slots=True)
class Provider:
    """One of ``oidc_providers``: where people log in."""

    id: str
    name: str
    brand: str | None
    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    client_auth: str
    scopes: Sequence[str]
    algorithms: Sequence[str]
    leeway_seconds: int
    localpart: str
    display_name: str | None
    create_accounts: bool
    adopt_accounts: bool


def parse_issuers(items: Sequence[Mapping[str, Any]], base: Path) -> list[Issuer]:
    """The issuers of the configuration.  Raises :class:`ConfigError`."""
    problems: list[str] = []
    issuers = []
    for number, item in enumerate(items):
        where = f"jwt.issuers[{number}] ({item['name']})"
        problems += [f"{where}: {problem}" for problem in _wrong(item)]
        issuers.append(_issuer(item, base))
    for what in ("name", "issuer"):
        values = [item[what] for item in items]
        problems += [
            f"jwt.issuers: two have the {what} '{value}'"
            for value in sorted(set(values))
            if values.count(value) > 1
        ]
    if problems:
        raise ConfigError(problems)
    return issuers


def _issuer(item: Mapping[str, Any], base: Path) -> Issuer:
    audience = item["audience"]
    given = item.get("secret_file")
    secret = item.get("secret")
    if given is not None:
        secret = _read_shared_key(base / Path(given).expanduser(), item["name"])
    keys = item.get("jwks_file")
    return Issuer(
        name=item["name"],
        issuer=item["issuer"],
        audiences=[audience] if isinstance(audience, str) else list(audience),
        algorithms=list(item.get("algorithms", ["HS256"] if secret is not None else ["RS256"])),
        secret=secret,
        jwks_url=item.get("jwks_url"),
        jwks_file=(base / Path(keys).expanduser()).resolve() if keys is not None else None,
        leeway_seconds=item.get("leeway_seconds", 30),
        subject_claim=item.get("subject_claim", "sub"),
        localpart=item.get("localpart", "{sub}"),
        display_name=item.get("display_name", "{name}"),
        create_accounts=item.get("create_accounts", True),
        adopt_accounts=item.get("adopt_accounts", False),
    )


def _wrong(item: Mapping[str, Any]) -> Iterator[str]:
    sources = [key for key in ("secret", "secret_file", "jwks_url", "jwks_file") if item.get(key)]
    if len(sources) != 1:
        yield "give one of secret, secret_file, jwks_url and jwks_file"
        return
    shared = sources[0].startswith("secret")
    for algorithm in item.get("algorithms", ()):
        if (algorithm == "HS256") != shared:
            yield f"{algorithm} does not go with {sources[0]}"
    if sources[0] == "secret" and len(str(item["secret"]).encode()) < LEAST_SECRET_BYTES:
        yield f"the secret needs at least {LEAST_SECRET_BYTES} bytes"
    if not claims_of(item.get("localpart", "{sub}")):
        yield "localpart must name a claim in braces, such as shop-{sub}"


def _read_shared_key(path: Path, name: str) -> str:
    secret = _read_secret(path, f"jwt.issuers ({name})")
    if len(secret.encode()) < LEAST_SECRET_BYTES:
        raise ConfigError(
            [f"jwt.issuers ({name}): the secret needs at least {LEAST_SECRET_BYTES} bytes"]
        )
    return secret


def _read_secret(path: Path, where: str) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigError([f"{where}: {path} cannot be read"]) from error


def parse_providers(items: Sequence[Mapping[str, Any]], base: Path) -> list[Provider]:
    """The providers of the configuration.  Raises :class:`ConfigError`."""
    problems = [
        f"oidc_providers[{number}] ({item['id']}): {problem}"
        for number, item in enumerate(items)
        for problem in _wrong_provider(item)
    ]
    ids = [item["id"] for item in items]
    problems += [
        f"oidc_providers: two have the id '{name}'"
        for name in sorted(set(ids))
        if ids.count(name) > 1
    ]
    if problems:
        raise ConfigError(problems)
    return [_provider(item, base) for item in items]


def _wrong_provider(item: Mapping[str, Any]) -> Iterator[str]:
    secrets = [key for key in ("client_secret", "client_secret_file") if item.get(key)]
    if len(secrets) > 1:
        yield "give one of client_secret and client_secret_file"
    if not secrets and item.get("client_auth", "none") != "none":
        yield f"client_auth {item['client_auth']} takes a client_secret"
    if not claims_of(item.get("localpart", DEFAULT_NAME)):
        yield "localpart must name a claim in braces, such as {preferred_username}"
    if "openid" not in item.get("scopes", DEFAULT_SCOPES):
        yield "scopes must have 'openid' among them"


def _provider(item: Mapping[str, Any], base: Path) -> Provider:
    given, secret = item.get("client_secret_file"), item.get("client_secret")
    if given is not None:
        where = f"oidc_providers ({item['id']})"
        secret = _read_secret(base / Path(given).expanduser(), where)
    return Provider(
        id=item["id"],
        name=item.get("name", item["id"]),
        brand=item.get("brand"),
        issuer=item["issuer"],
        client_id=item["client_id"],
        client_secret=secret,
        client_auth=item.get(
            "client_auth", "client_secret_basic" if secret is not None else "none"
        ),
        scopes=list(item.get("scopes", DEFAULT_SCOPES)),
        algorithms=list(item.get("algorithms", ["RS256"])),
        leeway_seconds=item.get("leeway_seconds", 30),
        localpart=item.get("localpart", DEFAULT_NAME),
        display_name=item.get("display_name", "{name}"),
        create_accounts=item.get("create_accounts", True),
        adopt_accounts=item.get("adopt_accounts", False),
    )


def check_redirect_urls(urls: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a beginning of addresses that does not fix the host."""
    problems = [
        f"sso_redirect_urls: '{url}' fits many hosts: end its host with a /, as in https://app/*"
        for url in filter(fits_many_hosts, urls)
    ]
    if problems:
        raise ConfigError(problems)
