"""A server of the account side alone: real routes, real PostgreSQL, a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from client_api.matrix import (
    account,
    account_data,
    auth_fallback,
    capabilities,
    devices,
    filters,
    login,
    openid,
    profiles,
    push_rules,
    registration,
    versions,
    wellknown,
)
from homeserver import app_keys
from homeserver.callers import LOOPBACK
from homeserver.config import RateConfig
from homeserver.config_accounts import EncryptionConfig, SupportConfig
from homeserver.errors import NotFound
from homeserver.services.account_data import AccountDataService
from homeserver.services.account_deletion import AccountDeletion
from homeserver.services.account_standing import AccountStanding
from homeserver.services.accounts import AccountService
from homeserver.services.appservices.registry import AppServices
from homeserver.services.devices import DeviceService
from homeserver.services.erased_accounts import ErasedAccounts
from homeserver.services.filters import FilterService
from homeserver.services.interactive_auth import (
    DUMMY,
    PASSWORD,
    REGISTRATION_TOKEN,
    InteractiveAuth,
    PasswordStage,
    dummy_stage,
)
from homeserver.services.invitations import Invitations, Limits
from homeserver.services.mail import Mailer
from homeserver.services.oauth.approvals import Approvals
from homeserver.services.oauth.clients import Clients
from homeserver.services.oauth.refresh_tokens import RefreshTokens
from homeserver.services.oauth.tokens import OAuthTokens
from homeserver.services.openid import OpenIdTokens
from homeserver.services.passwords import Passwords
from homeserver.services.profiles import ProfileService
from homeserver.services.push_rules import PushRuleService
from homeserver.services.rate_limits import RateLimits
from homeserver.services.registration import RegistrationService
from homeserver.services.sessions import SessionService
from homeserver.services.sign_in.jwt_login import JwtLogin
from homeserver.services.sign_in.oidc import OidcLogins
from homeserver.services.sign_in.passwords import PasswordLogin
from homeserver.services.sign_in.proofs import Proofs
from homeserver.services.terms import Terms
from homeserver.services.third_party_bindings import ThirdPartyBindings
from homeserver.services.third_party_ids import Settings, ThirdPartyIds
from homeserver.storage.log import Log
from homeserver.web import add_cors_headers, cors_middleware, error_middleware
from tests.services.open_consent import OpenConsent
from tests.spec.observer import observe

SERVER_NAME = "one.example"
MODULES = (
    account,
    account_data,
    auth_fallback,
    capabilities,
    devices,
    filters,
    login,
    openid,
    profiles,
    push_rules,
    registration,
    versions,
    wellknown,
)


class Clock:
    """A wall clock that can be moved."""

    def __init__(self) -> None:
        self.now = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Others:
    """Stands for rooms, device lists and other instances, and remembers what was asked of it."""

    left_all: list[str] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    member_events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    remote: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def newcomer(self, user_id: str) -> None:
        raise AssertionError(f"{user_id} came by an invitation, though there are none")

    async def delete_event_content(self, event_ids: Iterable[str], **_: Any) -> int:
        raise AssertionError("there are no events here")

    async def give_up(self, uris: Iterable[Any], sender: str) -> None:
        raise AssertionError("there is no media here")

    async def leave_all(self, user_id: str) -> None:
        self.left_all.append(user_id)
        self.left.set()

    async def changed(self, user_id: str, device_id: str) -> None:
        self.renamed.append((user_id, device_id))

    async def deleted_devices(self, user_id: str, device_ids: Iterable[str]) -> None:
        self.deleted.extend((user_id, device_id) for device_id in device_ids)

    async def joined_rooms(self, _user_id: str) -> Sequence[str]:
        return self.rooms

    async def update_member(self, user_id: str, room_id: str, fields: dict[str, Any]) -> None:
        self.member_events.append((user_id, room_id, fields))

    async def fetch(self, user_id: str) -> dict[str, Any]:
        if user_id not in self.remote:
            raise NotFound("There is no such user")
        return self.remote[user_id]


class Server:
    """The running server, and a client's view of it."""

    def __init__(self, client: Any, clock: Clock, others: Others, app: web.Application) -> None:
        self.client = client
        self.clock = clock
        self.others = others
        self.app = app

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        status: int = 200,
    ) -> dict[str, Any]:
        """Ask, check the status, and parse the answer."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if not path.startswith("/_") and not path.startswith("/."):
            path = f"/_matrix/client/v3{path}"
        async with self.client.request(method, path, json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == status, answer
            return answer

    async def get(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return await self.request("GET", path, **kwargs)

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> dict[str, Any]:
        return await self.request("POST", path, {} if body is None else body, **kwargs)

    async def put(self, path: str, body: Any, **kwargs: Any) -> dict[str, Any]:
        return await self.request("PUT", path, body, **kwargs)

    async def delete(self, path: str, body: Any = None, **kwargs: Any) -> dict[str, Any]:
        return await self.request("DELETE", path, body, **kwargs)

    async def new_account(self, name: str, password: str = "sesame", **login: Any) -> Account:
        """Make an account and log in to it."""
        await self.app[app_keys.ACCOUNTS].create(name, password)
        return await self.log_in(name, password, **login)

    async def log_in(self, name: str, password: str = "sesame", **login: Any) -> Account:
        """One more session."""
        answer = await self.post(
            "/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": name},
                "password": password,
                **login,
            },
        )
        return Account(
            answer["user_id"],
            answer["device_id"],
            answer["access_token"],
            answer.get("refresh_token"),
        )


@dataclass
class Account:
    """A user who is logged in."""

    user_id: str
    device_id: str
    token: str
    refresh_token: str | None = None


class _DeviceLists:
    def __init__(self, others: Others) -> None:
        self.changed = others.changed
        self.deleted = others.deleted_devices


def build(
    database: Any, log: Log, *, mode: str = "open", rates: dict[str, RateConfig] | None = None
) -> Any:
    """Every service of the account side, wired as the real application wires them."""
    clock, others = Clock(), Others()
    config = SimpleNamespace(
        server_name=SERVER_NAME,
        public_base_url="https://matrix.one.example",
        rooms=SimpleNamespace(default_version="12"),
        scheduling=SimpleNamespace(max_delay_ms=1_000, max_per_user=1),
        support=SupportConfig([], None, None),
        encryption=EncryptionConfig(dehydrated_devices=False),
        voip=SimpleNamespace(rtc_transports=[]),
        oauth=SimpleNamespace(enabled=False),
        listen=SimpleNamespace(trusted_proxies=LOOPBACK),
    )
    passwords = Passwords(memory_kib=8, passes=1)
    deletion = AccountDeletion(
        database=database, log=log, erased=ErasedAccounts(database), clock_ms=clock
    )
    deletion.erase_with(others, others)
    rate_limits = RateLimits(rates=rates, enabled=rates is not None)
    sessions = SessionService(database=database, clock_ms=clock)
    device_service = DeviceService(
        database=database, sessions=sessions, device_lists=_DeviceLists(others)
    )
    accounts = AccountService(
        server_name=SERVER_NAME,
        database=database,
        passwords=passwords,
        sessions=sessions,
        devices=device_service,
        rooms=others,
        belongings=deletion,
        clock_ms=clock,
    )
    registration_service = RegistrationService(
        mode=mode,
        server_name=SERVER_NAME,
        database=database,
        accounts=accounts,
        passwords=passwords,
        terms=Terms(
            documents=(), update="notify", database=database, consent_uri=str, clock_ms=clock
        ),
        invitations=Invitations(
            limits=Limits(enabled=False, per_member=1, max_days=1),
            public_base_url="https://matrix.one.example",
            database=database,
            clock_ms=clock,
        ),
        newcomers=others,
        clock_ms=clock,
    )
    stages = {
        DUMMY: dummy_stage,
        PASSWORD: PasswordStage(
            server_name=SERVER_NAME, accounts=accounts, rate_limits=rate_limits
        ),
        REGISTRATION_TOKEN: registration_service.token_stage,
    }
    push_rule_service = PushRuleService(database=database, log=log)
    account_data_service = AccountDataService(
        database=database, log=log, push_rules=push_rule_service
    )
    app = web.Application(middlewares=[cors_middleware, error_middleware])
    app.on_response_prepare.append(add_cors_headers)
    app[app_keys.CONFIG] = config
    app[app_keys.SESSIONS] = sessions
    app[app_keys.APP_SERVICES] = AppServices(
        (), server_name="one.test", database=database, accounts=accounts, clock_ms=clock
    )
    app[app_keys.DEVICES] = device_service
    app[app_keys.ACCOUNT_STANDING] = AccountStanding(
        server_name=SERVER_NAME, database=database, store=others, clock_ms=clock
    )
    app[app_keys.MAILER] = Mailer(
        smtp=None, sender=None, max_queued=1, database=database, clock_ms=clock
    )
    app[app_keys.THIRD_PARTY_IDS] = ThirdPartyIds(
        Settings(SERVER_NAME, "https://one.test", b"secret", None, False, ()),
        database=database,
        mailer=app[app_keys.MAILER],
        rate_limits=rate_limits,
        clock_ms=clock,
    )
    app[app_keys.THIRD_PARTY_BINDINGS] = ThirdPartyBindings(
        database=database, servers=others, clock_ms=clock
    )
    app[app_keys.GUESTS] = SimpleNamespace(enabled=False)
    app[app_keys.ACCOUNTS] = accounts
    app[app_keys.REGISTRATION] = registration_service
    app[app_keys.RATE_LIMITS] = rate_limits
    app[app_keys.PASSWORD_LOGIN] = PasswordLogin(accounts=accounts, rate_limits=rate_limits)
    app[app_keys.JWT_LOGIN] = JwtLogin(
        issuers=(), identities=others, documents=others, clock_ms=clock
    )
    app[app_keys.OIDC_LOGINS] = OidcLogins(
        providers=(),
        redirect_urls=(),
        public_base_url="https://one.test",
        identities=others,
        database=database,
        clock_ms=clock,
    )
    app[app_keys.APPROVALS] = Approvals(
        public_base_url="https://one.test", database=database, clock_ms=clock
    )
    app[app_keys.OAUTH_TOKENS] = OAuthTokens(
        database=database,
        clients=Clients(database=database, hosts=None, clock_ms=clock),
        sessions=sessions,
        devices=device_service,
        refresh_tokens=RefreshTokens(b"a secret"),
        id_tokens=others,
        access_token_lifetime_ms=300_000,
        refresh_token_lifetime_ms=None,
        clock_ms=clock,
    )
    app[app_keys.PROOFS] = Proofs(
        database=database,
        identities=others,
        jwt_login=app[app_keys.JWT_LOGIN],
        providers=(),
    )
    app[app_keys.INTERACTIVE_AUTH] = InteractiveAuth(
        database=database, stages=stages, clock_ms=clock
    )
    app[app_keys.ACCOUNT_DATA] = account_data_service
    app[app_keys.FILTERS] = FilterService(database=database)
    app[app_keys.OPENID] = OpenIdTokens(secret=b"secret", clock_ms=clock)
    app[app_keys.PROFILES] = ProfileService(
        server_name=SERVER_NAME, database=database, remote=others, members=others
    )
    app[app_keys.PUSH_RULES] = push_rule_service
    consent = OpenConsent(database, log, clock, account_data=account_data_service)
    for key, part in consent.app_parts().items():
        app[key] = part
    for module in MODULES:
        app.add_routes(module.routes.definitions)
    return observe(app), clock, others


@pytest.fixture
async def log(database: Any) -> AsyncIterator[Log]:
    """A running log."""
    subject = Log(database)
    await subject.start()
    yield subject
    await subject.close()


@pytest.fixture
def start_server(database: Any, log: Log, aiohttp_client: Any) -> Any:
    """Starts a server, with a registration mode and rate limits."""

    async def start(**options: Any) -> Server:
        app, clock, others = build(database, log, **options)
        return Server(await aiohttp_client(app), clock, others, app)

    return start


@pytest.fixture
async def server(start_server: Any) -> Server:
    """A server on which anybody may register, without rate limits."""
    started: Server = await start_server()
    return started
