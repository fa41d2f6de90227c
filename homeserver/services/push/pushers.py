"""Pushers: who has which, in memory, and the requests that change them.

Spec: client-server API, push notifications, ``GET /pushers``, ``POST /pushers/set``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, KeysView, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from homeserver.errors import InvalidParam, MatrixError, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.services.requester import Requester
from homeserver.storage import pushers as storage
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from homeserver.storage.pushers import EMAIL, HTTP, NewPusher, Pusher

NOTIFY_PATH = "/_matrix/push/v1/notify"
EMAIL_APP = "m.email"
EVENT_ID_ONLY = "event_id_only"
MAX_APP_ID_LENGTH = 64
MAX_PUSHKEY_BYTES = 512
MAX_TEXT_LENGTH = 255
MAX_URL_LENGTH = 2_000
MAX_DATA_BYTES = 8_192
MAX_PUSHERS = 50
LOADED_AT_ONCE = 16
# MSC3881, by the names that clients used before it was accepted.
UNSTABLE = "org.matrix.msc3881."


class UserRooms(Protocol):
    """Keeps the rooms of users in memory."""

    async def get(self, user_id: str) -> object:
        """Read a user's rooms."""

    def pin(self, user_id: str) -> None:
        """Keep them."""

    def unpin(self, user_id: str) -> None:
        """They may be dropped."""


class Addresses(Protocol):
    """The e-mail addresses of accounts."""

    async def has_email(self, user_id: str, address: str) -> bool:
        """Whether the user has shown that the address is theirs."""


class PushDisabled(MatrixError):
    """Pushers of that kind are switched off."""

    errcode, status = "M_INVALID_PARAM", 400


class Pushers:
    """All pushers, in memory; the database has the last word."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        rooms: UserRooms,
        clock_ms: Callable[[], int],
        plain_http: bool = False,
        addresses: Addresses | None = None,
    ) -> None:
        """``plain_http``: whether gateways may be http addresses.  ``addresses``: None where no
        mail is sent."""
        self._database = database
        self._log = log
        self._rooms = rooms
        self._clock_ms = clock_ms
        self._plain_http = plain_http
        self._addresses = addresses
        self._of_user: dict[str, list[Pusher]] = {}
        self._by_id: dict[int, Pusher] = {}
        self._changing = asyncio.Lock()
        self.on_changed: Callable[[Collection[Pusher]], None] = lambda _pushers: None
        """Told of pushers that were set."""

    async def start(self) -> None:
        """Read who has which."""
        of_user: dict[str, list[Pusher]] = {}
        for pusher in await storage.get_all(self._database):
            of_user.setdefault(pusher.user_id, []).append(pusher)
        user_ids = list(of_user)
        for start in range(0, len(user_ids), LOADED_AT_ONCE):
            page = user_ids[start : start + LOADED_AT_ONCE]
            await asyncio.gather(*(self._follow(user_id) for user_id in page))
        for user_id, pushers in of_user.items():
            self._remember(user_id, pushers)

    # ------------------------------------------------------------ reading

    @property
    def users(self) -> KeysView[str]:
        """Those who have pushers."""
        return self._of_user.keys()

    @property
    def oldest(self) -> int | None:
        """The log's position at which the first of them was made."""
        return min((pusher.since for pusher in self._by_id.values()), default=None)

    def of(self, user_id: str) -> Sequence[Pusher]:
        """A user's pushers, the oldest first."""
        return self._of_user.get(user_id, ())

    def get(self, pusher_id: int) -> Pusher | None:
        """One pusher, if it is there still."""
        return self._by_id.get(pusher_id)

    # ------------------------------------------------------------ changing

    async def set(self, requester: Requester, body: Mapping[str, Any]) -> None:
        """Add, change or remove a pusher.

        Raises :class:`InvalidParam`, :class:`MissingParam`.
        """
        if "kind" not in body:
            raise MissingParam('\'kind\' is required: "http", "email", or null to remove it')
        app_id = _text(body, "app_id", MAX_APP_ID_LENGTH)
        pushkey = _text(body, "pushkey", MAX_PUSHKEY_BYTES)
        if len(pushkey.encode()) > MAX_PUSHKEY_BYTES:
            raise InvalidParam(f"'pushkey' has at most {MAX_PUSHKEY_BYTES} bytes")
        if body["kind"] is None:
            async with self._changing:
                await storage.delete(self._database, requester.user_id, app_id, pushkey)
                await self._read((requester.user_id,))
            return
        pusher = self._parse(requester, body, app_id, pushkey)
        append = body.get("append", False)
        if not isinstance(append, bool):
            raise InvalidParam("'append' must be true or false")
        if pusher.kind == EMAIL:
            await self._check_address(pusher)
        async with self._changing:
            await self._put(pusher, append=append)
        self.on_changed(self.of(requester.user_id))

    async def _put(self, pusher: NewPusher, *, append: bool) -> None:
        user_id = pusher.user_id
        others = await storage.count_others(self._database, user_id, pusher.app_id, pusher.pushkey)
        if others >= MAX_PUSHERS:
            raise InvalidParam(f"You can have at most {MAX_PUSHERS} pushers")
        # From now on what happens is taken in; what the row says was before it is left out.
        await self._follow(user_id)
        self._of_user.setdefault(user_id, [])
        touched = {user_id}
        try:
            async with self._database.transaction() as connection:
                if not append:
                    touched |= await storage.delete_of_others(
                        connection, user_id, pusher.app_id, pusher.pushkey
                    )
                await storage.put(
                    connection, pusher, now=self._clock_ms(), since=self._log.position
                )
        finally:
            await self._read(touched)

    async def _check_address(self, pusher: NewPusher) -> None:
        if self._addresses is None:
            raise PushDisabled("This server sends no e-mail: there can be no e-mail pushers")
        if not await self._addresses.has_email(pusher.user_id, pusher.pushkey):
            raise InvalidParam("'pushkey' must be an e-mail address that is bound to your account")

    async def remove(self, pusher: Pusher) -> None:
        """Remove a pusher: its gateway says that the pushkey is not good, or its reader had
        enough."""
        async with self._changing:
            await storage.delete_by_id(self._database, pusher.pusher_id)
            await self._read((pusher.user_id,))

    async def remove_unbound(self, user_id: str) -> None:
        """Remove the pushers that were set with tokens of no device, which are void now."""
        async with self._changing:
            await storage.delete_unbound(self._database, user_id)
            await self._read((user_id,))

    async def address_removed(self, user_id: str) -> None:
        """Remove the e-mail pushers to addresses that are the user's no more."""
        for pusher in [p for p in self.of(user_id) if p.kind == EMAIL]:
            if self._addresses is None or not await self._addresses.has_email(
                user_id, pusher.pushkey
            ):
                await self.remove(pusher)

    async def refresh(self, user_id: str) -> None:
        """Read a user's pushers again: some may be gone with their devices, or all with the
        account."""
        if user_id in self._of_user:
            async with self._changing:
                await self._read((user_id,))

    async def forget(self, user_id: str) -> None:
        """Remove all pushers of a user whose account has ended."""
        async with self._changing:
            await storage.delete_of_user(self._database, user_id)
            await self._read((user_id,))

    # ------------------------------------------------------------ memory

    async def _follow(self, user_id: str) -> None:
        """Have the user's rooms in memory."""
        if user_id not in self._of_user:
            self._rooms.pin(user_id)
            try:
                await self._rooms.get(user_id)
            except BaseException:
                self._rooms.unpin(user_id)
                raise

    async def _read(self, user_ids: Iterable[str]) -> None:
        wanted = [user_id for user_id in user_ids if user_id in self._of_user]
        found: dict[str, list[Pusher]] = {user_id: [] for user_id in wanted}
        for pusher in await storage.get_of_users(self._database, wanted):
            found[pusher.user_id].append(pusher)
        for user_id, pushers in found.items():
            self._remember(user_id, pushers)

    def _remember(self, user_id: str, pushers: list[Pusher]) -> None:
        for gone in self._of_user.pop(user_id, ()):
            self._by_id.pop(gone.pusher_id, None)
        if not pushers:
            self._rooms.unpin(user_id)
            return
        self._of_user[user_id] = pushers
        for pusher in pushers:
            self._by_id[pusher.pusher_id] = pusher

    # ------------------------------------------------------------ parsing

    def _parse(
        self, requester: Requester, body: Mapping[str, Any], app_id: str, pushkey: str
    ) -> NewPusher:
        kind = body["kind"]
        if kind not in (HTTP, EMAIL):
            raise InvalidParam('\'kind\' must be "http", "email" or null')
        names = ("app_display_name", "device_display_name", "lang", "data")
        missing = [name for name in names if body.get(name) is None]
        if missing:
            raise MissingParam(f"Missing parameters: {', '.join(missing)}")
        data = body["data"]
        if not isinstance(data, dict) or len(orjson.dumps(data)) > MAX_DATA_BYTES:
            raise InvalidParam(f"'data' must be an object of at most {MAX_DATA_BYTES} bytes")
        if kind == HTTP:
            self._check_url(data.get("url"))
            if data.get("format") not in (None, EVENT_ID_ONLY):
                raise InvalidParam(f"'data.format' can only be \"{EVENT_ID_ONLY}\"")
        elif app_id != EMAIL_APP:
            raise InvalidParam(f"The 'app_id' of an e-mail pusher is \"{EMAIL_APP}\"")
        enabled = body.get("enabled", body.get(f"{UNSTABLE}enabled", True))
        if not isinstance(enabled, bool):
            raise InvalidParam("'enabled' must be true or false")
        return NewPusher(
            user_id=requester.user_id,
            app_id=app_id,
            pushkey=pushkey,
            kind=kind,
            device_id=requester.device_id,
            enabled=enabled,
            app_display_name=_text(body, "app_display_name", MAX_TEXT_LENGTH),
            device_display_name=_text(body, "device_display_name", MAX_TEXT_LENGTH),
            profile_tag=(
                _text(body, "profile_tag", MAX_TEXT_LENGTH)
                if body.get("profile_tag") is not None
                else None
            ),
            lang=_text(body, "lang", MAX_TEXT_LENGTH),
            data=data,
        )

    def _check_url(self, url: object) -> None:
        if url is None:
            raise MissingParam("Missing parameters: data.url")
        if not isinstance(url, str) or len(url) > MAX_URL_LENGTH or not url.isprintable():
            raise InvalidParam("'data.url' must be an address")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidParam("'data.url' is not an address") from error
        if parts.scheme != "https" and not (self._plain_http and parts.scheme == "http"):
            raise InvalidParam("'data.url' must begin with https://")
        if not host or parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidParam("'data.url' must name a host, and no user")
        if parts.path != NOTIFY_PATH:
            raise InvalidParam(f"The path of 'data.url' must be {NOTIFY_PATH}")


def _text(body: Mapping[str, Any], key: str, most: int) -> str:
    value = body.get(key)
    if value is None:
        raise MissingParam(f"Missing parameters: {key}")
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise InvalidParam(f"'{key}' must be a string of at most {most} characters")
    if key in ("app_id", "pushkey") and not value:
        raise InvalidParam(f"'{key}' must not be empty")
    return value


def pusher_json(pusher: Pusher) -> JsonObject:
    """A pusher as its owner is shown it.  Spec: ``GET /pushers``; MSC3881."""
    shown: JsonObject = {
        "app_id": pusher.app_id,
        "pushkey": pusher.pushkey,
        "kind": pusher.kind,
        "app_display_name": pusher.app_display_name,
        "device_display_name": pusher.device_display_name,
        "lang": pusher.lang,
        "data": pusher.data,
        "enabled": pusher.enabled,
        f"{UNSTABLE}enabled": pusher.enabled,
    }
    if pusher.profile_tag is not None:
        shown["profile_tag"] = pusher.profile_tag
    if pusher.device_id is not None:
        shown["device_id"] = shown[f"{UNSTABLE}device_id"] = pusher.device_id
    return shown
