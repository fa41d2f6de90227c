"""E-mail addresses of accounts: shown to be somebody's by a link in a mail, then used for
registration, a new password, logging in and as a contact.

A mail is written whether or not an address is an account's, and it takes as long: who asks learns
nothing from the answer (unless ``email.reveal_accounts``).  Spec: client-server API, adding account
administrative contact information; email-based authentication.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from homeserver.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.protocol.email_addresses import (
    InvalidEmailAddress,
    canonical_email,
    email_domain,
)
from homeserver.protocol.events import JsonObject
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import UserId
from homeserver.services import third_party_mails as mails
from homeserver.services.interactive_auth import NotYet
from homeserver.services.mail import MailDisabled
from homeserver.services.rate_limits import RateLimits
from homeserver.services.third_party_codes import LinkCodes
from homeserver.services.third_party_mails import ADD, PASSWORD, REGISTER, Written
from homeserver.services.usernames import identified_user
from homeserver.storage import accounts
from homeserver.storage import third_party_ids as storage
from homeserver.storage.database import Database, Queryable
from homeserver.storage.external_identities import get_providers
from homeserver.storage.third_party_ids import ThirdPartyId, ValidationSession

EMAIL = "email"
LINK_PATH = "/_comity/email/confirm"
HOUR_MS = 3_600_000
LIFETIME_MS = {REGISTER: 24 * HOUR_MS, PASSWORD: HOUR_MS, ADD: 24 * HOUR_MS}
PRUNE_EVERY_MS = HOUR_MS
MOST_ADDRESSES = 20  # of one account
LONGEST_LINK = 2_000
_SECRET = re.compile(r"[0-9a-zA-Z.=_-]{1,255}", re.ASCII)


class ThirdPartyInUse(MatrixError):
    """The address belongs to an account already."""

    errcode, status = "M_THREEPID_IN_USE", 400

    def __init__(self) -> None:
        super().__init__("That address belongs to an account already")


class ThirdPartyNotFound(MatrixError):
    """No account has the address."""

    errcode, status = "M_THREEPID_NOT_FOUND", 400

    def __init__(self) -> None:
        super().__init__("No account here has that address")


class ThirdPartyDenied(MatrixError):
    """The admin does not take the address."""

    errcode, status = "M_THREEPID_DENIED", 403


class MediumNotSupported(MatrixError):
    """Telephone numbers: nobody here sends text messages."""

    errcode, status = "M_THREEPID_MEDIUM_NOT_SUPPORTED", 400

    def __init__(self) -> None:
        super().__init__("This server takes no telephone numbers")


class ThirdPartyAuthFailed(NotYet):
    """The address was not shown to be the caller's, or not yet."""

    errcode, status = "M_THREEPID_AUTH_FAILED", 401

    def __init__(self, proof: JsonObject | None = None) -> None:
        super().__init__(
            "The address has not been confirmed: follow the link in the mail first", proof
        )


class NotConfirmedYet(ThirdPartyAuthFailed):
    """The stage waits for its mail to be followed.

    Clients ask every other second.  Element shows its user any error of these answers but this one.
    """

    errcode = "M_UNAUTHORIZED"


class Sender(Protocol):
    """What is needed of mail."""

    @property
    def enabled(self) -> bool:
        """Whether mail is sent at all."""

    async def send(self, to: str, subject: str, text: str, html: str) -> None:
        """Send a mail now."""

    async def queue(self, to: str, subject: str, text: str, html: str) -> None:
        """Have a mail sent."""


class TokenRequest(Struct, frozen=True):
    """What a client asks a mail for; ``browser_hash``: or a browser on our pages, by its cookie."""

    purpose: str
    client_secret: str
    email: str
    send_attempt: int
    next_link: str | None = None
    browser_hash: bytes | None = None


class Settings(Struct, frozen=True):
    """``server_name``, ``base_url``: of this instance; the rest as ``email`` of the configuration
    has it."""

    server_name: str
    base_url: str
    secret: bytes
    allowed_domains: Sequence[str] | None
    reveal_accounts: bool
    next_link_urls: Sequence[str]


class ThirdPartyIds:
    """Validates e-mail addresses, and knows whose they are."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        mailer: Sender,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._key = hashlib.blake2b(settings.secret, person=b"comity-emailtkn").digest()
        self._allowed = (
            [glob_to_regex(glob, ignore_case=True) for glob in settings.allowed_domains]
            if settings.allowed_domains is not None
            else None
        )
        self._database = database
        self._mailer = mailer
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms
        self.on_removed: list[Callable[[str], Awaitable[None]]] = []
        """Told of a user who has one address less."""
        self._pruned_at = 0
        self._codes = LinkCodes(secret=settings.secret, database=database, clock_ms=clock_ms)

    @property
    def enabled(self) -> bool:
        """Whether accounts can have e-mail addresses."""
        return self._mailer.enabled

    # ------------------------------------------------------------ asking for a mail

    async def request_token(self, request: TokenRequest) -> str:
        """Send a mail with a link, and begin a session; its ID.

        The same session again for the same client and address; another mail only for a higher
        ``send_attempt``.  Raises: :class:`~homeserver.services.mail.MailDisabled`,
        :class:`~homeserver.services.mail.MailFailed`, :class:`InvalidParam`,
        :class:`ThirdPartyDenied`, ``M_LIMIT_EXCEEDED``; with ``reveal_accounts``
        :class:`ThirdPartyInUse` and :class:`ThirdPartyNotFound`.
        """
        if not self.enabled:
            raise MailDisabled()
        address = self.check_address(request.email)
        self._check(request)
        owner = await storage.get_owner(self._database, EMAIL, address)
        if self._settings.reveal_accounts:
            if request.purpose == PASSWORD and owner is None:
                raise ThirdPartyNotFound()
            if request.purpose != PASSWORD and owner is not None:
                raise ThirdPartyInUse()
        await self._prune()
        session, is_due = await self._session(request, address)
        if is_due:
            self._rate_limits.check("email_address", address)
            await self._send(session, owner)
        return session.sid

    def check_address(self, email: str) -> str:
        """An address in its canonical form.

        Raises: :class:`InvalidParam`, :class:`ThirdPartyDenied`.
        """
        try:
            address = canonical_email(email)
        except InvalidEmailAddress as error:
            raise InvalidParam("That is not an e-mail address") from error
        domain = email_domain(address)
        if self._allowed is not None and not any(p.match(domain) for p in self._allowed):
            raise ThirdPartyDenied("This server does not take addresses of that domain")
        return address

    def _check(self, request: TokenRequest) -> None:
        if _SECRET.fullmatch(request.client_secret) is None:
            raise InvalidParam("'client_secret' consists of 1 to 255 letters, digits and . = _ -")
        if not 0 <= request.send_attempt < 2**53:
            raise InvalidParam("'send_attempt' must be a number from 0 on")
        if request.next_link is not None:
            _check_link(request.next_link)

    async def _session(self, request: TokenRequest, address: str) -> tuple[ValidationSession, bool]:
        """The session, and whether a mail is due."""
        known = await storage.get_session_for(
            self._database, request.purpose, request.client_secret, address
        )
        if known is not None and not self._is_over(known):
            is_due = await storage.set_attempt(
                self._database, known.sid, request.send_attempt, request.next_link
            )
            return known, is_due and known.validated_at is None
        sid = secrets.token_urlsafe(24)
        session = ValidationSession(
            sid=sid,
            purpose=request.purpose,
            client_secret=request.client_secret,
            address=address,
            send_attempt=request.send_attempt,
            token_hash=_digest(self._token(sid)),
            next_link=request.next_link,
            created_at=self._clock_ms(),
            browser_hash=request.browser_hash,
        )
        await storage.put_session(self._database, session)
        return session, True

    def _token(self, sid: str) -> str:
        """The token in a session's mails: the same in each of them."""
        return hmac.new(self._key, sid.encode(), hashlib.sha256).hexdigest()

    def _is_over(self, session: ValidationSession) -> bool:
        return session.created_at + LIFETIME_MS[session.purpose] <= self._clock_ms()

    async def _send(self, session: ValidationSession, owner: str | None) -> None:
        query = urlencode({"token": self._token(session.sid)})
        link = f"{self._settings.base_url}{LINK_PATH}?{query}"
        server = self._settings.server_name
        if session.purpose == PASSWORD and owner is None:
            written = mails.no_account(server)
        elif session.purpose != PASSWORD and owner is not None:
            written = mails.in_use(session.purpose, server, owner)
        else:
            written = mails.validation(session.purpose, server, link, owner)
        await self._mailer.send(session.address, written.subject, written.text, written.html)

    async def _prune(self) -> None:
        now = self._clock_ms()
        if now - self._pruned_at >= PRUNE_EVERY_MS:
            self._pruned_at = now
            await storage.delete_sessions_before(self._database, now - max(LIFETIME_MS.values()))

    # ------------------------------------------------------------ following its link

    async def find_session(self, token: str) -> ValidationSession:
        """The session that a link is for.  Raises: :class:`NotFound`."""
        session = None
        if len(token) <= LONGEST_LINK:
            session = await storage.get_session_by_token(self._database, _digest(token))
        if session is None or self._is_over(session):
            raise NotFound("This link is not good any more: ask for another mail in your app")
        return session

    async def confirm(
        self, token: str, browser_hash: bytes | None
    ) -> tuple[ValidationSession, str | None]:
        """Somebody followed the link, and said that they meant to.

        Also a code, where the mail was asked for on our pages in another browser than this: the
        address counts once it is entered there.  Raises :class:`NotFound`.
        """
        session = await self.find_session(token)
        if session.validated_at is None and not is_of(session, browser_hash):
            return session, await self._codes.make(session)
        await storage.validate_session(self._database, session.token_hash, self._clock_ms())
        return session, None

    async def enter_code(self, sid: str, client_secret: str, code: str) -> None:
        """Take the code that a link has shown in another browser than the one that asked.

        Raises: :class:`ThirdPartyAuthFailed`, :class:`Forbidden` for a wrong one.
        """
        session = await self._known({"sid": sid, "client_secret": client_secret})
        if session.validated_at is None:
            await self._codes.enter(session, code)

    def leads_on(self, link: str) -> bool:
        """Whether people may be sent on to an address by themselves."""
        return any(
            link.startswith(listed[:-1]) if listed.endswith("*") else link == listed
            for listed in self._settings.next_link_urls
        )

    # ------------------------------------------------------------ using the session

    async def validated(self, credentials: JsonObject) -> ValidationSession:
        """The session that a client names, once its mail was followed.

        ``credentials``: ``sid`` and ``client_secret``.  Raises: :class:`ThirdPartyAuthFailed`.
        """
        session = await self._known(credentials)
        if session.validated_at is None:
            raise ThirdPartyAuthFailed(_again(session.sid, session.client_secret))
        return session

    async def _known(self, credentials: JsonObject) -> ValidationSession:
        sid, secret = credentials.get("sid"), credentials.get("client_secret")
        if not isinstance(sid, str) or not isinstance(secret, str):
            raise InvalidParam("'sid' and 'client_secret' are required")
        if _SECRET.fullmatch(sid) is None or _SECRET.fullmatch(secret) is None:
            raise ThirdPartyAuthFailed()
        session = await storage.get_session(self._database, sid)
        if session is None or not _same(session.client_secret, secret) or self._is_over(session):
            raise ThirdPartyAuthFailed(_again(sid, secret))
        return session

    async def stage(self, auth: JsonObject, _user_id: str | None) -> str:
        """The stage ``m.login.email.identity``; yields the session's ID.

        Spec: email-based (identity / homeserver).
        """
        credentials = auth.get("threepid_creds", auth.get("threepidCreds"))
        if not isinstance(credentials, dict):
            raise InvalidParam("'threepid_creds' must be an object")
        try:
            return (await self.validated(credentials)).sid
        except ThirdPartyAuthFailed as error:
            if error.proof is None:
                raise
            raise NotConfirmedYet(error.proof) from error

    async def session_of(self, sid: str, purpose: str) -> ValidationSession:
        """A session whose stage was completed.

        Raises: :class:`ThirdPartyAuthFailed` if it was for another purpose, or is over by now.
        """
        session = await storage.get_session(self._database, sid)
        if session is None or session.purpose != purpose or session.validated_at is None:
            raise ThirdPartyAuthFailed()
        return session

    async def use(self, db: Queryable, session: ValidationSession, user_id: str) -> None:
        """Use a session up: its address is the user's.

        Raises: :class:`ThirdPartyInUse`, :class:`ThirdPartyAuthFailed` if it was used before.
        """
        if not await storage.delete_session(db, session.sid):
            raise ThirdPartyAuthFailed()
        entry = ThirdPartyId(
            EMAIL, session.address, user_id, session.validated_at or 0, self._clock_ms()
        )
        if not await storage.insert_id(db, entry):
            raise ThirdPartyInUse()

    async def owner_for_reset(self, sid: str) -> UserId:
        """Whose password is to be set anew; the session is used up.

        Whom a provider vouches for and who has no password is given none: the provider decides who
        signs in.  Raises: :class:`ThirdPartyAuthFailed`, :class:`ThirdPartyNotFound`,
        :class:`Forbidden`.
        """
        session = await self.session_of(sid, PASSWORD)
        if not await storage.delete_session(self._database, sid):
            raise ThirdPartyAuthFailed()
        owner = await storage.get_owner(self._database, EMAIL, session.address)
        if owner is None:
            raise ThirdPartyNotFound()
        account = await accounts.get_account(self._database, owner)
        if (account is None or account.password_hash is None) and await get_providers(
            self._database, owner
        ):
            raise Forbidden("This account has no password: sign in where you usually do")
        return UserId(owner)

    # ------------------------------------------------------------ a user's addresses

    async def list_of(self, user_id: str) -> list[ThirdPartyId]:
        """The addresses of a user."""
        return await storage.get_ids(self._database, user_id)

    async def add(self, user_id: UserId, session: ValidationSession) -> None:
        """Add the address that a session has shown to be the user's.

        Raises what :meth:`use` raises; :class:`ThirdPartyAuthFailed` for a session that was begun
        for something else.
        """
        if session.purpose != ADD:
            raise ThirdPartyAuthFailed()
        others = await self.list_of(user_id)
        if len(others) >= MOST_ADDRESSES:
            raise ThirdPartyDenied(f"An account has at most {MOST_ADDRESSES} addresses")
        async with self._database.transaction() as connection:
            await self.use(connection, session, user_id)
        written = mails.address_added(self._settings.server_name, user_id)
        await self._tell([o for o in others if o.address != session.address], written)

    async def remove(self, user_id: str, medium: str, address: str) -> None:
        """Take an address from a user's account, and tell all; nothing if it is not theirs."""
        known = await self.list_of(user_id)
        if not await storage.delete_id(self._database, user_id, medium, address):
            return
        await self._tell(known, mails.address_removed(self._settings.server_name, user_id))
        for listener in self.on_removed:
            await listener(user_id)

    async def password_changed(self, user_id: str) -> None:
        """Tell a user, at all their addresses, that they have another password."""
        written = mails.password_changed(self._settings.server_name, user_id)
        await self._tell(await self.list_of(user_id), written)

    async def _tell(self, entries: Sequence[ThirdPartyId], written: Written) -> None:
        if not self.enabled:
            return
        for entry in entries:
            await self._mailer.queue(entry.address, written.subject, written.text, written.html)

    async def identified(self, body: JsonObject) -> UserId | None:
        """Whom the identifier of a log-in names: by an address of theirs, or as users are named.

        Spec: identifier types.
        """
        identifier = body.get("identifier")
        if not isinstance(identifier, dict):
            identifier = body
        medium, address = identifier.get("medium"), identifier.get("address")
        if medium == EMAIL and isinstance(address, str):
            try:
                owner = await storage.get_owner(self._database, EMAIL, canonical_email(address))
            except InvalidEmailAddress:
                owner = None
            if owner is not None:
                return UserId(owner)
        return identified_user(body, self._settings.server_name)


def is_of(session: ValidationSession, browser_hash: bytes | None) -> bool:
    """Whether this browser asked for a session's mail; also where a client did."""
    if session.browser_hash is None:
        return True
    return browser_hash is not None and hmac.compare_digest(session.browser_hash, browser_hash)


def _again(sid: str, client_secret: str) -> JsonObject:
    return {"threepid_creds": {"sid": sid, "client_secret": client_secret}}


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "replace"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _check_link(link: str) -> None:
    """Refuse what is no web address: other schemes could run in the reader's browser.

    What stands before an @ is no host, but looks like one.
    """
    try:
        parts = urlsplit(link)
        wrong = (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or "@" in parts.netloc
            or "\\" in link  # which browsers read as /
        )
    except ValueError:
        wrong = True
    if wrong or len(link) > LONGEST_LINK or not link.isprintable() or " " in link:
        raise InvalidParam("'next_link' must be an http or https address")
