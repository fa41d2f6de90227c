"""Logging in at an OpenID Connect provider: out to it, back with a code, and on to the application.

A login is bound to the browser that began it (a cookie), to its state and nonce, and to a code
verifier that never leaves the server.  What the application is handed is a login token, good once
and for two minutes, and it is handed to places on the admin's list only; to others, which Matrix
clients may name, the person sends it on themselves.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote_plus, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.sign_in.identities import Identities, Vouched
from homeserver.services.sign_in.jwt_login import subject_of
from homeserver.services.sign_in.mapping import display_name, localpart
from homeserver.services.sign_in.provider import OidcProvider
from homeserver.services.sign_in.tokens import TokenRefused
from homeserver.storage import oidc_logins as storage
from homeserver.storage.database import Database
from homeserver.storage.oidc_logins import OidcLogin

LIFETIME_MS = 15 * 60_000
MAX_URL_LENGTH = 2_000
MAX_CODE_LENGTH = 4_096
CALLBACK = "/api/v1/sessions/oauth/{provider}/callback"
# What a browser must not be sent to: it would run, or show, what the address itself says.
UNSAFE_SCHEMES = frozenset(
    {"javascript", "data", "vbscript", "blob", "file", "about", "filesystem"}
)


class Beginning(Struct, frozen=True):
    """Where the browser goes, and the cookie by which it is known when it comes back."""

    url: str
    browser: str


class Return(Struct, frozen=True):
    """Where a login token goes: an address, the name of the parameter that bears it, and whether
    the address is on the list."""

    url: str
    parameter: str
    trusted: bool

    def address(self, **parameters: str) -> str:
        """The address with parameters in its query, in the place of any of these names."""
        parts = urlsplit(self.url)
        kept = "&".join(
            part
            for part in parts.query.split("&")
            if unquote_plus(part.partition("=")[0]) not in parameters
        )
        query = "&".join(filter(None, (kept, urlencode(parameters))))
        return urlunsplit((parts.scheme, parts.netloc, parts.path, query, parts.fragment))


class Finished(Struct, frozen=True):
    """A login that succeeded: of whom, and where to go on; or what session it has confirmed.

    ``authenticated_at``: when they proved who they are (ms); None: the provider does not say.
    """

    user_id: UserId
    to: Return
    uia_session: str | None
    authenticated_at: int | None


class LoginFailed(Forbidden):
    """A login that ended without somebody; ``to``: where the application may be told."""

    def __init__(self, text: str, to: Return | None = None) -> None:
        super().__init__(text)
        self.to = to


class OidcLogins:
    """Runs logins at providers."""

    def __init__(
        self,
        *,
        providers: Sequence[OidcProvider],
        redirect_urls: Sequence[str],
        public_base_url: str,
        identities: Identities,
        database: Database,
        clock_ms: Callable[[], int],
    ) -> None:
        self.providers: Mapping[str, OidcProvider] = {p.settings.id: p for p in providers}
        self._redirect_urls = redirect_urls
        self._base = public_base_url.rstrip("/")
        self._identities = identities
        self._database = database
        self._clock_ms = clock_ms

    def is_listed(self, url: str) -> bool:
        """Whether login tokens may be sent to an address without asking."""
        return any(
            url.startswith(listed[:-1]) if listed.endswith("*") else url == listed
            for listed in self._redirect_urls
        )

    def parse_return(self, url: str, parameter: str, *, state: str | None = None) -> Return:
        """Where an application wants the login token.  Raises :class:`InvalidParam`."""
        try:
            parts = urlsplit(url) if len(url) <= MAX_URL_LENGTH else None
        except ValueError:
            parts = None
        if (
            parts is None
            or not parts.scheme
            or parts.scheme.lower() in UNSAFE_SCHEMES
            or (parts.scheme.lower() in ("http", "https") and not parts.hostname)
            or any(letter.isspace() or not letter.isprintable() for letter in url)
            or "\\" in url
        ):
            raise InvalidParam("The redirect URL is not an address that a login can return to")
        to = Return(url, parameter, self.is_listed(url))
        return Return(to.address(state=state), parameter, to.trusted) if state else to

    def here(self) -> Return:
        """For a login that confirms something: it ends here."""
        return Return(self._base, "", trusted=False)

    async def begin(
        self,
        provider_id: str,
        to: Return,
        *,
        browser: str | None,
        uia_session: str | None = None,
        again: bool = False,
    ) -> Beginning:
        """Begin a login.  Raises :class:`NotFound`, :class:`~homeserver.errors.PeerFailed`.

        ``browser``: the cookie that the browser has from an earlier login, if any; ``again``: the
        user is logged in and proves who they are, as they do for a ``uia_session``.
        """
        provider = self._provider(provider_id)
        now = self._clock_ms()
        again = again or uia_session is not None
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        browser = browser or secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        url = await provider.authorization_url(
            redirect_uri=self._callback(provider_id),
            state=state,
            nonce=nonce,
            code_challenge=challenge.rstrip(b"=").decode(),
            again=again,
        )
        await storage.delete_old(self._database, now - LIFETIME_MS)
        await storage.insert_login(
            self._database,
            OidcLogin(
                _hash(state),
                provider_id,
                _hash(browser),
                nonce,
                verifier,
                f"{to.parameter} {to.url}",
                to.trusted,
                uia_session,
                again,
                now,
            ),
        )
        return Beginning(url, browser)

    async def finish(
        self, provider_id: str, answer: Mapping[str, str], *, browser: str | None
    ) -> Finished:
        """Take a provider's answer.  Raises :class:`LoginFailed`,
        :class:`~homeserver.errors.PeerFailed`.
        """
        provider = self._provider(provider_id)
        login = await storage.take_login(self._database, _hash(answer.get("state", "")))
        if (
            login is None
            or login.provider != provider_id
            or login.created_at < self._clock_ms() - LIFETIME_MS
            or browser is None
            or not secrets.compare_digest(login.browser_hash, _hash(browser))
        ):
            raise LoginFailed(
                "This login is not known, took too long, or was begun in another browser: "
                "begin again in your application"
            )
        parameter, _, url = login.redirect_uri.partition(" ")
        to = Return(url, parameter, login.trusted)
        if answer.get("iss", provider.settings.issuer) != provider.settings.issuer:
            raise LoginFailed("The answer is another provider's", to)
        code = answer.get("code", "")
        if "error" in answer or not 0 < len(code) <= MAX_CODE_LENGTH:
            raise LoginFailed("You have not logged in there", to)
        vouched, authenticated_at = await self._vouched(provider, login, code, to)
        if login.uia_session is not None:
            user_id = await self._known(vouched, to)
        else:
            user_id = await self._identities.sign_in(vouched)
        return Finished(user_id, to, login.uia_session, authenticated_at)

    async def _vouched(
        self, provider: OidcProvider, login: OidcLogin, code: str, to: Return
    ) -> tuple[Vouched, int | None]:
        settings = provider.settings
        try:
            claims = await provider.claims(
                code,
                redirect_uri=self._callback(settings.id),
                code_verifier=login.code_verifier,
                nonce=login.nonce,
            )
            vouched = Vouched(
                provider=f"oidc:{settings.id}",
                subject=subject_of(claims, "sub"),
                localpart=localpart(settings.localpart, claims),
                display_name=display_name(settings.display_name, claims),
                create=settings.create_accounts,
                adopt=settings.adopt_accounts,
                suffix=not settings.adopt_accounts,
            )
            return vouched, self._authenticated_at(claims, login, settings.leeway_seconds)
        except TokenRefused as error:
            raise LoginFailed(error.text, to) from error

    def _authenticated_at(
        self, claims: JsonObject, login: OidcLogin, leeway_seconds: int
    ) -> int | None:
        """When the user proved there who they are (ms); None: nobody knows.

        A provider that knows ``max_age`` says it.  Of one that does not, asking is all that can be
        done.  Raises :class:`TokenRefused` for a proof from before it was asked for.
        OpenID Connect Core, sections 2, 3.1.2.1, 3.1.3.7.
        """
        told = claims.get("auth_time")
        if told is None:
            return self._clock_ms() if login.again else None
        if isinstance(told, bool) or not isinstance(told, int | float) or not 0 < told < 2**53:
            raise TokenRefused("The token's claim 'auth_time' is no time")
        if login.again and int(told) < login.created_at // 1000 - leeway_seconds:
            raise TokenRefused(
                "You were not asked there who you are: log out there, and begin again"
            )
        return int(told) * 1000

    async def _known(self, vouched: Vouched, to: Return) -> UserId:
        """Whose account it is that confirms something; none is made for that."""
        user_id = await self._identities.find(vouched)
        if user_id is None:
            raise LoginFailed("There is no account of yours here", to)
        return user_id

    def _provider(self, provider_id: str) -> OidcProvider:
        provider = self.providers.get(provider_id)
        if provider is None:
            raise NotFound("There is no such provider")
        return provider

    def _callback(self, provider_id: str) -> str:
        return self._base + CALLBACK.format(provider=quote(provider_id))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
