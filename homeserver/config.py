"""The configuration: YAML, checked against a JSON schema, every key also an environment variable.

``config.schema.yaml`` beside this module is where a key's type, limits and default are written;
the classes here give the values names and types.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from homeserver.config_accounts import (
    EmailConfig,
    EncryptionConfig,
    RegistrationConfig,
    SupportConfig,
    email_config,
    email_problems,
    registration_config,
    support_problems,
)
from homeserver.config_limits import (
    LimitsConfig,
    PushConfig,
    RetentionConfig,
    SchedulingConfig,
    ServerNoticesConfig,
    WebhooksConfig,
    WebSocketConfig,
)
from homeserver.config_media import MediaConfig, media_config
from homeserver.config_previews import PREVIEW_DURATIONS, UrlPreviewsConfig, preview_problems
from homeserver.config_schema import check, leaves, schema, shown, yaml_loader
from homeserver.config_sign_in import OAuthConfig, SignInConfig
from homeserver.config_storage import storage_problems
from homeserver.durations import in_ms

ENVIRONMENT_PREFIX = "COMITY_"
SEPARATOR = "__"

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigError(Exception):
    """The configuration cannot be used; each problem names a key, what was found, what may be."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Address(Struct, frozen=True):
    """Where a listener listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """``host:port``, IPv6 in brackets."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TlsConfig(Struct, frozen=True):
    """``listen.tls``."""

    certificate: Path | None
    key: Path | None


class ListenConfig(Struct, frozen=True):
    """``listen``."""

    client: Address
    federation: Address
    tls: TlsConfig
    trusted_proxies: tuple[IPNetwork, ...]


class DatabaseConfig(Struct, frozen=True):
    """``database``."""

    dsn: str | None
    max_connections: int


class RateConfig(Struct, frozen=True):
    """One of ``rate_limits``."""

    per_second: float
    burst: int


class RateLimitsConfig(Struct, frozen=True):
    """``rate_limits``; ``rates`` by action."""

    enabled: bool
    rates: Mapping[str, RateConfig]


class FederationConfig(Struct, frozen=True):
    """``federation``."""

    allow_private_networks: bool
    extra_ca_file: Path | None
    private_zones: Mapping[str, str | Mapping[str, list[str]]]
    allow: list[str] | None
    deny: list[str]
    notaries: list[str]
    timeout_seconds: float
    max_response_bytes: int


class RequestsConfig(Struct, frozen=True):
    """``consent.requests``."""

    expire_after_days: int
    declined_for_days: int
    max_pending: int
    per_sender: RateConfig
    per_instance: RateConfig


class ConsentConfig(Struct, frozen=True):
    """``consent``; ``defaults`` by scope: a preset's name, or an answer for each tier."""

    cross_instance: str
    terms_update: str
    defaults: Mapping[str, str | Mapping[str, str]]
    user_may_change: list[str]
    requests: RequestsConfig


class ExportsConfig(Struct, frozen=True):
    """``exports``."""

    keep_hours: int
    max_media_bytes: int


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """``policy``; rules and lists as in the YAML (see ``services/policy/rules.py``)."""

    rules: list[dict[str, Any]]
    checks: list[dict[str, Any]]
    checks_secret: str | None = field(repr=False)
    lists: list[dict[str, Any]]
    list_account: str


class ModerationConfig(Struct, frozen=True):
    """``moderation``."""

    keep_flagged_days: int
    keep_decided_days: int


class PolicyServerConfig(Struct, frozen=True):
    """``policy_server``."""

    enabled: bool


class ThirdPartyInvitesConfig(Struct, frozen=True):
    """``third_party_invites``."""

    identity_servers: list[str]


class PresenceConfig(Struct, frozen=True):
    """``presence``."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class VoipConfig:
    """``voip``: the TURN servers that relay calls."""

    turn_uris: list[str]
    turn_shared_secret: str | None = field(repr=False)
    turn_ttl_ms: int
    rtc_transports: list[dict[str, Any]]


class RoomsConfig(Struct, frozen=True):
    """``rooms``."""

    default_version: str


class LogConfig(Struct, frozen=True):
    """``log``."""

    format: str
    level: str


class Config(Struct, frozen=True):
    """The whole configuration, defaults filled in."""

    server_name: str
    data_dir: Path
    public_base_url: str
    well_known_server: str
    signing_key_file: Path
    database: DatabaseConfig
    listen: ListenConfig
    registration: RegistrationConfig
    email: EmailConfig
    support: SupportConfig
    encryption: EncryptionConfig
    sign_in: SignInConfig
    oauth: OAuthConfig
    app_services: list[str | dict[str, Any]]  # files, or what is said of one
    rate_limits: RateLimitsConfig
    federation: FederationConfig
    consent: ConsentConfig
    exports: ExportsConfig
    policy: PolicyConfig
    moderation: ModerationConfig
    policy_server: PolicyServerConfig
    third_party_invites: ThirdPartyInvitesConfig
    presence: PresenceConfig
    media: MediaConfig
    url_previews: UrlPreviewsConfig
    retention: RetentionConfig
    server_notices: ServerNoticesConfig
    scheduling: SchedulingConfig
    webhooks: WebhooksConfig
    push: PushConfig
    limits: LimitsConfig
    websocket: WebSocketConfig
    voip: VoipConfig
    rooms: RoomsConfig
    log: LogConfig
    source: Path | None  # the file that it was read from

    @property
    def base(self) -> Path:
        """The directory from which files in it are named."""
        return self.source.parent if self.source is not None else Path.cwd()


# ---------------------------------------------------------------- loading


def load_config(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read, check and complete the configuration.

    ``environ``: ``COMITY_REGISTRATION__MODE=open`` stands above ``registration.mode`` in the file.
    Raises: :class:`ConfigError`.
    """
    document = _read(path) if path is not None else {}
    problems = _override(document, os.environ if environ is None else environ)
    problems += check(document)
    if problems:
        raise ConfigError(problems)
    _fill_defaults(document, schema())
    config = _build(document, path.resolve() if path is not None else None)
    problems = list(_check_together(config))
    if problems:
        raise ConfigError(problems)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text("utf-8"), Loader=yaml_loader())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML: {error}"]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError([f"{path}: found {shown(document)}, expected keys and values"])
    return document


def _override(document: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Put environment variables over the file; the problems found."""
    problems = []
    known = {key: key.split(".") for key, _ in leaves()}
    for key, parts in known.items():
        name = ENVIRONMENT_PREFIX + SEPARATOR.join(part.upper() for part in parts)
        if name not in environ:
            continue
        try:
            value = yaml.load(environ[name], Loader=yaml_loader())
        except yaml.YAMLError:
            problems.append(f"{key}: the environment variable {name} is not a YAML value")
            continue
        wanted = _schema_of(key)
        if wanted.get("type") == "string" or "enum" in wanted:
            value = value if isinstance(value, str) else environ[name]
        inner = document
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[parts[-1]] = value
    return problems


def _schema_of(key: str) -> dict[str, Any]:
    found: dict[str, Any] = dict(leaves()).get(key, {})
    return found


def _fill_defaults(document: dict[str, Any], node: dict[str, Any]) -> None:
    for name, child in node["properties"].items():
        if child.get("type") == "object" and "properties" in child:
            if document.get(name) is None:
                document[name] = {}
            _fill_defaults(document[name], child)
        elif name not in document and "default" in child:
            document[name] = child["default"]


def _build(document: dict[str, Any], source: Path | None) -> Config:
    base = source.parent if source is not None else Path.cwd()

    def path(value: str | None) -> Path | None:
        return (base / Path(value).expanduser()).resolve() if value is not None else None

    listen, rates, federation = document["listen"], document["rate_limits"], document["federation"]
    data_dir = path(document["data_dir"]) or base
    client, server = Address.parse(listen["client"]), Address.parse(listen["federation"])
    host = document["server_name"]
    if ":" in host.rpartition("]")[2]:
        host = host.rpartition(":")[0]
    return Config(
        server_name=document["server_name"],
        data_dir=data_dir,
        public_base_url=(document["public_base_url"] or f"http://{client}").rstrip("/"),
        well_known_server=document["well_known_server"] or f"{host}:{server.port}",
        signing_key_file=path(document["signing_key_file"]) or data_dir / "signing.key",
        database=DatabaseConfig(**document["database"]),
        listen=ListenConfig(
            client,
            server,
            TlsConfig(path(listen["tls"]["certificate"]), path(listen["tls"]["key"])),
            tuple(map(ipaddress.ip_network, listen["trusted_proxies"])),
        ),
        registration=registration_config(document["registration"]),
        email=email_config(document["email"], base),
        support=SupportConfig(**document["support"]),
        encryption=EncryptionConfig(**document["encryption"]),
        sign_in=SignInConfig(
            document["jwt"]["issuers"], document["oidc_providers"], document["sso_redirect_urls"]
        ),
        app_services=document["app_services"],
        oauth=OAuthConfig(**in_ms(document["oauth"], *OAuthConfig.DURATIONS)),
        rate_limits=RateLimitsConfig(
            rates["enabled"],
            {name: RateConfig(**rate) for name, rate in rates.items() if name != "enabled"},
        ),
        federation=FederationConfig(
            **{**federation, "extra_ca_file": path(federation["extra_ca_file"])}
        ),
        consent=_build_consent(document["consent"]),
        exports=ExportsConfig(**document["exports"]),
        policy=PolicyConfig(**document["policy"]),
        moderation=ModerationConfig(**document["moderation"]),
        policy_server=PolicyServerConfig(**document["policy_server"]),
        third_party_invites=ThirdPartyInvitesConfig(**document["third_party_invites"]),
        presence=PresenceConfig(**document["presence"]),
        media=media_config(
            document["media"], path(document["media"]["encryption_key_file"]), data_dir, base
        ),
        url_previews=UrlPreviewsConfig(**in_ms(document["url_previews"], *PREVIEW_DURATIONS)),
        retention=RetentionConfig(**in_ms(document["retention"], *document["retention"])),
        server_notices=ServerNoticesConfig(**document["server_notices"]),
        scheduling=SchedulingConfig(**in_ms(document["scheduling"], "max_delay", "keep_finished")),
        webhooks=WebhooksConfig(**in_ms(document["webhooks"], "keep_log")),
        push=PushConfig(
            **in_ms(document["push"], "give_up_after", "keep_read", "email_after", "email_every")
        ),
        limits=LimitsConfig(**document["limits"]),
        websocket=WebSocketConfig(**document["websocket"]),
        voip=VoipConfig(**in_ms(document["voip"], "turn_ttl")),
        rooms=RoomsConfig(**document["rooms"]),
        log=LogConfig(**document["log"]),
        source=source,
    )


def _build_consent(section: dict[str, Any]) -> ConsentConfig:
    requests = section["requests"]
    rates = {name: RateConfig(**requests[name]) for name in ("per_sender", "per_instance")}
    return ConsentConfig(**{**section, "requests": RequestsConfig(**{**requests, **rates})})


def _check_together(config: Config) -> Iterator[str]:
    """Values that are possible one by one but not together."""
    tls = config.listen.tls
    if (tls.certificate is None) != (tls.key is None):
        missing = "certificate" if tls.certificate is None else "key"
        yield f"listen.tls.{missing}: missing; a certificate and its key go together"
    for key, file in (("certificate", tls.certificate), ("key", tls.key)):
        if file is not None and not file.is_file():
            yield f"listen.tls.{key}: found {str(file)!r}; allowed: a file that exists"
    authority = config.federation.extra_ca_file
    if authority is not None and not authority.is_file():
        yield f"federation.extra_ca_file: found {str(authority)!r}; allowed: a file that exists"
    for key, address in (
        ("client", config.listen.client),
        ("federation", config.listen.federation),
    ):
        if not 0 < address.port < 65536:
            yield f"listen.{key}: found the port {address.port}; allowed: 1 to 65535"
    yield from email_problems(config.email)
    yield from storage_problems(config.media.storage, config.media.s3)
    yield from support_problems(config.support)
    yield from preview_problems(config.url_previews)
    if config.registration.require_email and config.email.host is None:
        yield "registration.require_email: found true; allowed: false, as email.host is not set"
    documents = [document["name"] for document in config.registration.terms]
    for name in sorted({name for name in documents if documents.count(name) > 1}):
        yield f"registration.terms: found the name {name!r} twice; allowed: each name once"
    least, most = config.retention.min_ms, config.retention.max_ms
    if least is not None and most is not None and least > most:
        yield "retention.min: found more than retention.max; allowed: at most that"
    rooms = [item["room"] for item in config.policy.lists]
    for room in sorted({room for room in rooms if rooms.count(room) > 1}):
        yield f"policy.lists: found the room {room!r} twice; allowed: each room once"
