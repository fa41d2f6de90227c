"""What the configuration says of issuers of tokens: checked where secrets are not shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeserver.config import ConfigError
from homeserver.services.sign_in.mapping import claims_of

LEAST_SECRET_BYTES = 32
ASYMMETRIC = ("RS256", "ES256", "EdDSA")


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
        secret = _read_secret(base / Path(given).expanduser(), item["name"])
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


def _read_secret(path: Path, name: str) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigError([f"jwt.issuers ({name}): {path} cannot be read"]) from error
    if len(secret.encode()) < LEAST_SECRET_BYTES:
        raise ConfigError(
            [f"jwt.issuers ({name}): the secret needs at least {LEAST_SECRET_BYTES} bytes"]
        )
    return secret
