"""The application: every part under its key, every route, and the two listeners.

Together with ``wiring.py`` the only module that knows all parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterable

import structlog
from aiohttp import web

from client_api.admin import ALL_ROUTES as ADMIN_ROUTES
from client_api.comity import ALL_ROUTES as COMITY_ROUTES
from client_api.conversations import routes as conversations_routes
from client_api.conversations.answers import problem_answer
from client_api.matrix import ALL_ROUTES as CLIENT_ROUTES
from client_api.oauth import ALL_ROUTES as OAUTH_ROUTES
from client_api.web import checked_media, unsubscribe
from client_api.web import consent as consent_page
from client_api.web import email as email_page
from client_api.web import join as join_page
from client_api.web import me as me_page
from client_api.web import terms as terms_page
from federation import app_keys as federation_keys
from federation.routes import OPEN_ROUTES, SIGNED_ROUTES
from federation.server import AUTHENTICATOR
from homeserver import app_keys, health
from homeserver.config import Address, Config, ConfigError
from homeserver.protocol.signing import SigningKey, parse_signing_key_file
from homeserver.storage import migrations
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.tls import ListenerCertificate
from homeserver.web import (
    ERROR_FORMATS,
    ErrorFormats,
    add_cors_headers,
    cors_middleware,
    error_middleware,
    request_middleware,
)
from homeserver.wiring import Wiring

logger = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 10.0
GC_THRESHOLDS = (20_000, 20, 50)  # new objects; collections of each generation but the last


def build_app(wiring: Wiring) -> web.Application:
    """The web application of a wired server: both listeners serve all of it."""
    app = web.Application(
        middlewares=[request_middleware, cors_middleware, error_middleware],
        client_max_size=wiring.config.limits.request_body_bytes,
    )
    app.on_response_prepare.append(add_cors_headers)
    _provide(app, wiring)
    _provide_policy(app, wiring)
    wiring.device_parts.provide(app)
    wiring.reading.provide(app)
    wiring.sign_in.provide(app)
    wiring.account_access.provide(app)
    wiring.oauth.provide(app)
    wiring.space_parts.provide(app)
    wiring.sliding.provide(app)
    wiring.upgrade_parts.provide(app)
    wiring.notice_parts.provide(app)
    wiring.conversations.provide(app)
    wiring.push_parts.provide(app)
    wiring.app_services.provide(app)
    wiring.administration.provide(app)
    add_all_routes(app)
    set_error_formats(app)
    return app


def add_all_routes(app: web.Application) -> None:
    """Everything that the server answers."""
    app.add_routes(CLIENT_ROUTES)
    app.add_routes(COMITY_ROUTES)
    app.add_routes(OAUTH_ROUTES)
    app.add_routes(ADMIN_ROUTES)
    app.add_routes([*conversations_routes.ROUTES, conversations_routes.CATCH_ALL])
    app.add_routes(SIGNED_ROUTES)
    pages = (
        consent_page.routes,
        email_page.routes,
        join_page.routes,
        me_page.routes,
        terms_page.routes,
        unsubscribe.routes,
    )
    for routes in (*OPEN_ROUTES, *pages, checked_media.routes, health.routes):
        app.add_routes(routes)


def set_error_formats(app: web.Application) -> None:
    """Errors are Matrix's, but for the Conversations API's."""
    formats: ErrorFormats = {"/api/": problem_answer}
    app[ERROR_FORMATS] = formats


def _provide(app: web.Application, wiring: Wiring) -> None:
    app[app_keys.CONFIG] = wiring.config
    app[app_keys.DATABASE] = wiring.database
    app[app_keys.ACCOUNT_DATA] = wiring.account_data
    app[app_keys.ROOM_TAGS] = wiring.room_tags
    app[app_keys.ACCOUNTS] = wiring.accounts
    app[app_keys.ADMIN_TOKENS] = wiring.admin_tokens
    app[app_keys.CROSS_SIGNING] = wiring.device_parts.cross_signing
    app[app_keys.DELAYED_EVENTS] = wiring.scheduling.delayed_events
    app[app_keys.DEVICE_LISTS] = wiring.device_lists
    app[app_keys.DEVICES] = wiring.devices
    app[app_keys.DIRECTORY] = wiring.directory
    app[app_keys.END_TO_END_KEYS] = wiring.device_parts.end_to_end_keys
    app[app_keys.EXPORTS] = wiring.exports
    app[app_keys.FILTERS] = wiring.filters
    app[app_keys.INTERACTIVE_AUTH] = wiring.interactive_auth
    app[app_keys.INVITATIONS] = wiring.account_parts.invitations
    app[app_keys.MEDIA] = wiring.device_parts.media
    app[app_keys.MEMBERSHIP] = wiring.membership
    app[app_keys.MESSAGE_VIEWS] = wiring.ends.views
    app[app_keys.OPENID] = wiring.openid
    app[app_keys.PEOPLE_SEARCH] = wiring.device_parts.people_search
    app[app_keys.PRESENCE] = wiring.device_parts.presence
    app[app_keys.PROFILES] = wiring.profiles
    app[app_keys.PUSH_RULES] = wiring.push_rules
    app[app_keys.RATE_LIMITS] = wiring.rate_limits
    app[app_keys.RECEIPTS] = wiring.device_parts.receipts
    app[app_keys.REGISTRATION] = wiring.registration
    app[app_keys.REMOTE_DEVICES] = wiring.device_parts.remote_devices
    app[app_keys.RETENTION] = wiring.ends.retention
    app[app_keys.ROOM_CREATION] = wiring.creation
    app[app_keys.ROOMS] = wiring.rooms
    app[app_keys.SESSIONS] = wiring.sessions
    app[app_keys.TERMS] = wiring.account_parts.terms
    app[app_keys.THIRD_PARTY_INVITES] = wiring.third_party.invites
    app[app_keys.TO_DEVICE] = wiring.device_parts.to_device
    app[app_keys.TYPING] = wiring.device_parts.typing
    app[AUTHENTICATOR] = wiring.transport.authenticator
    app[terms_page.TERMS_LINKS] = wiring.account_parts.terms_links
    app[federation_keys.GATE] = wiring.gate
    app[federation_keys.HANDSHAKES] = wiring.handshakes
    app[federation_keys.HISTORY] = wiring.history
    app[federation_keys.JOINING] = wiring.joining
    app[federation_keys.NOTARY] = wiring.transport.notary
    app[federation_keys.THIRD_PARTY_BINDING] = wiring.third_party.binding


def _provide_policy(app: web.Application, wiring: Wiring) -> None:
    """Consent, content policy and moderation."""
    app[app_keys.CONSENT] = wiring.consent_parts.consent
    app[app_keys.CONSENT_ACCESS] = wiring.consent_parts.access
    app[app_keys.MESSAGE_REQUESTS] = wiring.consent_parts.requests
    app[app_keys.PEER_CONSENT] = wiring.consent_parts.peers
    app[federation_keys.COMITY_PEERS] = wiring.consent_parts.comity_peers
    app[consent_page.CONSENT_LINKS] = wiring.consent_parts.links
    app[app_keys.CHECK_LINKS] = wiring.check_parts.links
    app[app_keys.MEDIA_GATE] = wiring.check_parts.gate
    app[app_keys.MODERATION] = wiring.moderation_parts.moderation
    app[app_keys.MODERATION_QUEUE] = wiring.moderation_queue
    app[app_keys.REPORTS] = wiring.moderation_parts.reports
    app[app_keys.POLICY] = wiring.policy
    app[app_keys.RULE_FILE] = wiring.policy_parts.rule_file
    app[app_keys.POLICY_APPOINTMENTS] = wiring.policy_appointments
    app[app_keys.POLICY_SIGNER] = wiring.policy_server_parts.signer
    app[app_keys.LIST_GATE] = wiring.list_gates.gate
    app[app_keys.POLICY_LISTS] = wiring.list_gates.lists
    app[app_keys.ROOM_ACLS] = wiring.list_parts.acls
    app[app_keys.POLICY_PREVIEWS] = wiring.list_parts.previews
    app[app_keys.SERVER_ADMISSION] = wiring.transport.rules
    app[app_keys.SERVER_BLOCKS] = wiring.server_blocks
    app[federation_keys.POLICY_SIGNING] = wiring.policy_signing


# ---------------------------------------------------------------- running


@contextlib.asynccontextmanager
async def open_database(config: Config) -> AsyncIterator[Database]:
    """The database of the configuration, migrated; the embedded one is started and stopped."""
    embedded: EmbeddedPostgres | None = None
    dsn = config.database.dsn
    if dsn is None:
        embedded = EmbeddedPostgres(config.data_dir / "postgres")
        dsn = await embedded.start()
    try:
        database = await Database.connect(dsn, max_size=config.database.max_connections)
        try:
            for name in await migrations.apply(database):
                logger.info("migrated", migration=name)
            yield database
        finally:
            await database.close()
    finally:
        if embedded is not None:
            await embedded.stop()


def load_signing_keys(config: Config) -> list[SigningKey]:
    """The signing keys; the first one signs.  Raises what reading or parsing the file raises."""
    return parse_signing_key_file(config.signing_key_file.read_text("utf-8"))


async def serve(config: Config, *, ready: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM; ``ready`` is called with a line once requests are answered.

    At the end requests in flight finish, connections close, and what was queued is written.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_database(config) as database:
        wiring = Wiring(config, database, load_signing_keys(config))
        await wiring.start()
        look_for_cycles_less_often()
        _allow_many_sockets()
        runner = web.AppRunner(
            build_app(wiring),
            access_log=None,
            shutdown_timeout=SHUTDOWN_SECONDS,
            handler_cancellation=False,
        )
        certificate = _certificate(config)
        _reload_on_hangup(loop, wiring, certificate)
        fresh = asyncio.create_task(certificate.keep_fresh()) if certificate else None
        try:
            await runner.setup()
            for site in _sites(runner, config, certificate):
                await site.start()
            ready(f"comity is ready: {config.public_base_url}")
            await stop.wait()
            logger.info("stopping")
        finally:
            if fresh is not None:
                fresh.cancel()
            wiring.stop_waiting()
            await runner.cleanup()
            await wiring.close()


def _reload_on_hangup(
    loop: asyncio.AbstractEventLoop, wiring: Wiring, certificate: ListenerCertificate | None
) -> None:
    """SIGHUP: read content policy's rules and the certificate again; the log says how it went."""
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        if certificate is not None:
            certificate.reload()
        with contextlib.suppress(ConfigError):
            await wiring.policy_parts.rule_file.reload()

    def on_hangup() -> None:
        task = asyncio.create_task(reload(), name="reload")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)


def _allow_many_sockets() -> None:
    """As many open files as the system lets the process have: each socket is one.

    A service manager's default is 1,024, for programs that know no better.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def look_for_cycles_less_often() -> None:
    """What lives now lives as long as the process; what requests leave behind has few cycles.

    With Python's own thresholds a seventh of the time of a busy server goes into looking for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _certificate(config: Config) -> ListenerCertificate | None:
    tls = config.listen.tls
    if tls.certificate is None or tls.key is None:
        return None
    return ListenerCertificate(tls.certificate, tls.key)


def _sites(
    runner: web.AppRunner, config: Config, certificate: ListenerCertificate | None
) -> Iterable[web.TCPSite]:
    """A site for each listener."""

    def site(address: Address, context: ssl.SSLContext | None) -> web.TCPSite:
        return web.TCPSite(runner, address.host, address.port, ssl_context=context, backlog=1024)

    yield site(config.listen.client, None)
    if config.listen.federation != config.listen.client:
        yield site(config.listen.federation, certificate.context if certificate else None)
