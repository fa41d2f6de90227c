"""Identity servers: whose an address is, and invitations that wait for their owner.

Users name them, so they are asked only if the admin's list has them, over verified TLS through the
connections whose sockets refuse the local network, without redirects, and bounded.  Spec: identity
service API, v2.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
from yarl import URL

from federation.client import as_failure, parse_object, peer_error, read_bounded
from federation.connections import CONNECT_TIMEOUT_SECONDS, Connections
from federation.errors import FederationFailure, PeerError, Temporary
from federation.request_signing import authorization_header
from federation.server_rules import ServerRules
from homeserver.errors import Forbidden, PeerFailed
from homeserver.protocol.canonical import encode_base64, encode_canonical_json
from homeserver.protocol.events import JsonObject
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import (
    InvalidIdentifier,
    UserId,
    is_valid_server_name,
    parse_server_name,
)
from homeserver.protocol.signing import BadKey, SigningKey, VerifyKey
from homeserver.protocol.urls import to_url
from homeserver.services.third_party_bindings import BindRequest
from homeserver.services.third_party_invites import StoredInvite, ThirdPartyAddress

BASE = "/_matrix/identity/v2"
TIMEOUT_SECONDS = 10.0
MAX_BYTES = 64 * 1024
MAX_KEYS = 10
MAX_TEXT = 1_000
TOKEN = re.compile(r"[0-9a-zA-Z.=_-]{1,255}", re.ASCII)
SHA256, PLAIN = "sha256", "none"


class IdentityServerClient:
    """Asks identity servers.  What they fail at is a :class:`MatrixError` for who asked."""

    def __init__(
        self,
        *,
        server_name: str,
        signing_key: SigningKey,
        connections: Connections,
        rules: ServerRules,
        allowed: Sequence[str],
    ) -> None:
        """``allowed``: globs over names as clients give them; none switches it all off."""
        self._server_name = server_name
        self._key = signing_key
        self._connections = connections
        self._rules = rules
        self._allowed = [glob_to_regex(glob, ignore_case=True) for glob in allowed]

    @property
    def enabled(self) -> bool:
        """Whether the admin allows any."""
        return bool(self._allowed)

    def allows(self, name: str) -> bool:
        """Whether an identity server may be asked."""
        listed = any(pattern.match(name) for pattern in self._allowed)
        return listed and is_valid_server_name(name) and self._rules.allows(name)

    def check(self, name: str) -> None:
        """Raise :class:`Forbidden` for an identity server that the admin does not allow."""
        if not self.enabled:
            raise Forbidden("This server does not invite by e-mail address or telephone number")
        if not self.allows(name):
            raise Forbidden("This server does not use that identity server")

    # ------------------------------------------------------------ addresses

    async def look_up(self, whom: ThirdPartyAddress) -> UserId | None:
        """Whose address it is, or None.  Raises what :meth:`check` raises, and MatrixError.

        Spec: ``GET /hash_details``, ``POST /lookup``.  A pepper may be changed between the two:
        then they are asked once more.
        """
        self.check(whom.id_server)
        try:
            try:
                return await self._look_up(whom)
            except PeerError as error:
                if error.errcode != "M_INVALID_PEPPER":
                    raise
            return await self._look_up(whom)
        except FederationFailure as error:
            raise error.to_matrix_error() from error

    async def _look_up(self, whom: ThirdPartyAddress) -> UserId | None:
        details = await self._ask("GET", whom, "hash_details")
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list):
            raise PeerFailed("The identity server does not say how it hashes addresses")
        text = f"{whom.address} {whom.medium}"
        if SHA256 in algorithms:
            algorithm = SHA256
            digest = hashlib.sha256(f"{text} {pepper}".encode()).digest()
            text = encode_base64(digest, urlsafe=True)
        elif PLAIN in algorithms:
            algorithm = PLAIN
        else:
            raise PeerFailed("The identity server hashes addresses in no way known here")
        body = {"algorithm": algorithm, "pepper": pepper, "addresses": [text]}
        mappings = (await self._ask("POST", whom, "lookup", body)).get("mappings")
        found = mappings.get(text) if isinstance(mappings, dict) else None
        return _user_id(found) if found is not None else None

    async def store_invite(
        self, whom: ThirdPartyAddress, details: JsonObject
    ) -> StoredInvite | UserId:
        """Have an invitation kept and sent; the owner instead, if there is one by now.

        Spec: ``POST /store-invite``.
        """
        self.check(whom.id_server)
        body = {**details, "medium": whom.medium, "address": whom.address}
        try:
            answer = await self._ask("POST", whom, "store-invite", body)
        except PeerError as error:
            if error.errcode == "M_THREEPID_IN_USE" and "mxid" in error.body:
                return _user_id(error.body["mxid"])
            raise error.to_matrix_error() from error
        except FederationFailure as error:
            raise error.to_matrix_error() from error
        return _stored(answer)

    # ------------------------------------------------------------ bindings

    async def bind(self, request: BindRequest, user_id: str) -> tuple[str, str]:
        """Bind an address that its owner validated there; its medium and address.

        Spec: ``POST /3pid/bind``.
        """
        body = {"sid": request.sid, "client_secret": request.client_secret, "mxid": user_id}
        url, token = _url(request.id_server, "3pid/bind"), request.id_access_token
        try:
            answer = await self._request(request.id_server, "POST", url, f"Bearer {token}", body)
        except FederationFailure as error:
            raise error.to_matrix_error() from error
        medium, address = answer.get("medium"), answer.get("address")
        if not isinstance(medium, str) or not isinstance(address, str):
            raise PeerFailed("The identity server does not say what it has bound")
        return medium[:MAX_TEXT].replace("\0", ""), address[:MAX_TEXT].replace("\0", "")

    async def unbind(self, name: str, medium: str, address: str, user_id: str) -> None:
        """Have a binding removed, at this server's word.  Spec: ``POST /3pid/unbind``."""
        body = {"mxid": user_id, "threepid": {"medium": medium, "address": address}}
        url = _url(name, "3pid/unbind")
        signed = authorization_header(
            self._key,
            method="POST",
            uri=url.raw_path,
            origin=self._server_name,
            destination=name,
            content=encode_canonical_json(body),
        )
        try:
            await self._request(name, "POST", url, signed, body)
        except FederationFailure as error:
            raise error.to_matrix_error() from error

    # ------------------------------------------------------------ keys

    async def public_key(self, name: str, key_id: str) -> bytes | None:
        """A long-term key of a server that is allowed, or None.  Spec: ``GET /pubkey/{keyId}``."""
        if not self.allows(name):
            return None
        url = _url(name, "pubkey").joinpath(key_id)
        try:
            answer = await self._request(name, "GET", url)
            return VerifyKey.from_base64(answer.get("public_key")).data
        except (FederationFailure, BadKey):
            return None

    async def is_valid(self, validity_url: str, public_key: str) -> bool:
        """Whether a key is still valid, asked at the address that came with it.

        It is a member of a room who wrote the address down; so it must be one of a server that
        is allowed.  Raises :class:`PeerFailed` if there is no answer.
        """
        try:
            url = to_url(validity_url)
            name = url.host or "" if url.explicit_port is None else f"{url.host}:{url.port}"
        except ValueError:
            return False
        if url.scheme != "https" or url.user is not None or not self.allows(name):
            return False
        try:
            answer = await self._request(name, "GET", url.update_query(public_key=public_key))
        except FederationFailure as error:
            raise error.to_matrix_error() from error
        return answer.get("valid") is True

    # ------------------------------------------------------------ one request

    async def _ask(
        self, method: str, whom: ThirdPartyAddress, path: str, body: JsonObject | None = None
    ) -> JsonObject:
        return await self._request(
            whom.id_server,
            method,
            _url(whom.id_server, path),
            f"Bearer {whom.id_access_token}",
            body,
        )

    async def _request(
        self,
        name: str,
        method: str,
        url: URL,
        authorization: str | None = None,
        body: JsonObject | None = None,
    ) -> JsonObject:
        headers = {"Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = aiohttp.ClientTimeout(
            total=TIMEOUT_SECONDS, sock_connect=min(CONNECT_TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        )
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._connections.session.request(
                    method,
                    url,
                    data=orjson.dumps(body) if body is not None else None,
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeout,
                ) as response,
            ):
                if response.status != 200:
                    raise await peer_error(name, response)
                return parse_object(name, await read_bounded(name, response, MAX_BYTES))
        except TimeoutError as error:
            raise Temporary(name, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise as_failure(name, error) from error


def _url(name: str, path: str) -> URL:
    server = parse_server_name(name)
    port = f":{server.port}" if server.port is not None else ""
    return URL(f"https://{server.host}{port}{BASE}/{path}")


def _user_id(text: Any) -> UserId:
    try:
        return UserId.parse(text)
    except InvalidIdentifier as error:
        raise PeerFailed("The identity server answered with what is no user ID") from error


def _stored(answer: JsonObject) -> StoredInvite:
    """What a room is told of an invitation, checked.  Raises :class:`PeerFailed`."""
    token, display_name = answer.get("token"), answer.get("display_name")
    keys = answer.get("public_keys")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise PeerFailed("The identity server gave the invitation no token")
    if not isinstance(display_name, str) or len(display_name) > MAX_TEXT:
        raise PeerFailed("The identity server gave the invitation no name")
    found = []
    for entry in keys[:MAX_KEYS] if isinstance(keys, list) else ():
        key = entry.get("public_key") if isinstance(entry, dict) else None
        url = entry.get("key_validity_url") if isinstance(entry, dict) else None
        try:
            VerifyKey.from_base64(key)
        except BadKey:
            continue
        if isinstance(key, str) and isinstance(url, str) and len(url) <= MAX_TEXT:
            found.append((key, url))
    if not found:
        raise PeerFailed("The identity server gave the invitation no key")
    return StoredInvite(token, display_name, found)
