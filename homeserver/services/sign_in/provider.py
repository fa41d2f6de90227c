"""One OpenID Connect provider: its addresses, its keys, and what it says of who logged in.

Spec: OpenID Connect Core 1.0, Discovery 1.0; RFC 6749, 7636 (PKCE), 9207.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from homeserver.errors import PeerFailed
from homeserver.protocol.events import JsonObject
from homeserver.services.sign_in.documents import Documents
from homeserver.services.sign_in.jwt_login import subject_of
from homeserver.services.sign_in.key_sets import KeyAddress
from homeserver.services.sign_in.mapping import claims_of
from homeserver.services.sign_in.settings import Provider
from homeserver.services.sign_in.tokens import Expected, TokenRefused, verify

DISCOVERY = "/.well-known/openid-configuration"
FRESH_MS = 3_600_000


class OidcProvider:
    """Speaks with a provider."""

    def __init__(
        self, settings: Provider, *, documents: Documents, clock_ms: Callable[[], int]
    ) -> None:
        self.settings = settings
        self._documents = documents
        self._clock_ms = clock_ms
        self._metadata: Mapping[str, Any] = {}
        self._read_at: int | None = None
        self._keys = KeyAddress(
            documents=documents, clock_ms=clock_ms, url=lambda: self._address("jwks_uri")
        )

    # ------------------------------------------------------------ where it is

    async def _described(self) -> Mapping[str, Any]:
        now = self._clock_ms()
        if self._read_at is None or now - self._read_at >= FRESH_MS:
            found = await self._documents.get(self.settings.issuer.rstrip("/") + DISCOVERY)
            if not isinstance(found, dict) or found.get("issuer") != self.settings.issuer:
                raise PeerFailed(
                    f"The provider '{self.settings.id}' describes itself as another issuer"
                )
            self._metadata, self._read_at = found, now
        return self._metadata

    async def _address(self, name: str) -> str:
        """An address of the provider's; as safe as its issuer's.  Raises :class:`PeerFailed`."""
        address = (await self._described()).get(name)
        schemes = ("https",) if self.settings.issuer.startswith("https:") else ("https", "http")
        if not isinstance(address, str) or urlsplit(address).scheme not in schemes:
            raise PeerFailed(f"The provider '{self.settings.id}' has no usable '{name}'")
        return address

    # ------------------------------------------------------------ a login

    async def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, code_challenge: str, again: bool
    ) -> str:
        """Where the browser goes to log in.  Raises :class:`PeerFailed`.

        ``again``: the provider is asked for a proof also of who is logged in there: by ``max_age``,
        which those that do not know it let be, as not all do with ``prompt=login``.
        """
        address = await self._address("authorization_endpoint")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": " ".join(self.settings.scopes),
                "state": state,
                "nonce": nonce,
                "code_challenge": code_challenge,
                "code_challenge_method": "S256",
                **({"max_age": "0"} if again else {}),
            }
        )
        return f"{address}{'&' if urlsplit(address).query else '?'}{query}"

    async def claims(
        self, code: str, *, redirect_uri: str, code_verifier: str, nonce: str
    ) -> JsonObject:
        """Who logged in, for a code.  Raises :class:`TokenRefused`, :class:`PeerFailed`."""
        settings = self.settings
        tokens = await self._exchange(code, redirect_uri, code_verifier)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise TokenRefused("The provider did not say who has logged in")
        expected = Expected(
            settings.issuer, [settings.client_id], settings.algorithms, settings.leeway_seconds
        )
        claims = await verify(id_token, expected, self._keys, now_seconds=self._clock_ms() // 1000)
        if claims.get("nonce") != nonce:
            raise TokenRefused("The provider's answer is to another login")
        if claims.get("azp", settings.client_id) != settings.client_id:
            raise TokenRefused("The provider's token is for another application")
        return await self._with_more(claims, tokens.get("access_token"))

    async def _exchange(self, code: str, redirect_uri: str, code_verifier: str) -> JsonObject:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        headers: dict[str, str] = {}
        settings, secret = self.settings, self.settings.client_secret
        if settings.client_auth == "client_secret_basic" and secret is not None:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = settings.client_id
            if settings.client_auth == "client_secret_post" and secret is not None:
                form["client_secret"] = secret
        tokens = await self._documents.post(await self._address("token_endpoint"), form, headers)
        if not isinstance(tokens, dict):
            raise PeerFailed(f"The provider '{settings.id}' gave no tokens")
        if "error" in tokens:
            raise TokenRefused("The provider did not accept the login's code")
        return tokens

    async def _with_more(self, claims: JsonObject, access_token: object) -> JsonObject:
        """The claims, with those that only the provider's endpoint about users has."""
        wanted = [*claims_of(self.settings.localpart), *claims_of(self.settings.display_name or "")]
        if all(name in claims for name in wanted) or not isinstance(access_token, str):
            return claims
        if "userinfo_endpoint" not in await self._described():
            return claims
        more = await self._documents.get(
            await self._address("userinfo_endpoint"), bearer=access_token
        )
        if not isinstance(more, dict) or more.get("sub") != subject_of(claims, "sub"):
            raise TokenRefused("The provider speaks of two different people")
        return {**more, **claims}
