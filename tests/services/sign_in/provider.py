"""A small OpenID Connect provider, which checks what a client must send it, and can lie."""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc.jwk import Key

from tests.services.sign_in.signed import new_key, public, signed

CLIENT_ID, CLIENT_SECRET = "comity", "s3cret: with/odd characters"
REDIRECT_URI = "http://chat.test/api/v1/sessions/oauth/work/callback"


@functools.cache
def _key_of_all(algorithm: str) -> Key:
    """One key for the providers of a run: an RSA key takes a tenth of a second to make."""
    return new_key(algorithm)


@dataclass
class Provider:
    """Everybody who comes is logged in as ``person``.  ``lies``: claims put over the true ones."""

    algorithm: str = "RS256"
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u1", "preferred_username": "Ann", "name": "Ann Onym"}
    )
    lies: dict[str, Any] = field(default_factory=dict)
    only_in_userinfo: tuple[str, ...] = ()
    userinfo_sub: str | None = None
    issuer: str = ""

    def __post_init__(self) -> None:
        self.key = _key_of_all(self.algorithm)
        self.signing_key = self.key
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        """How an instance is told of it."""
        return {
            "id": "work",
            "name": "Example Work",
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "algorithms": [self.algorithm],
        }

    async def discovery(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
            }
        )

    async def jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(public(self.key))

    async def authorize(self, request: web.Request) -> web.Response:
        query = request.query
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == REDIRECT_URI
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        assert len(query["state"]) >= 32
        assert len(query["nonce"]) >= 32
        code = secrets.token_urlsafe(16)
        self.codes[code] = {"nonce": query["nonce"], "challenge": query["code_challenge"]}
        back = {"code": code, "state": query["state"], "iss": self.issuer}
        raise web.HTTPFound(f"{REDIRECT_URI}?{urlencode(back)}")

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        authorization = request.headers.get("Authorization", "")
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if pair != "comity:s3cret%3A+with%2Fodd+characters":
            return web.json_response({"error": "invalid_client"}, status=401)
        known = self.codes.pop(str(form.get("code")), None)
        verifier = str(form.get("code_verifier", ""))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        if (
            known is None
            or challenge.rstrip(b"=").decode() != known["challenge"]
            or form["redirect_uri"] != REDIRECT_URI
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "exp": now + 60,
            "iat": now,
            "nonce": known["nonce"],
            "name": None,
            **{k: v for k, v in self.person.items() if k not in self.only_in_userinfo},
            **self.lies,
        }
        access_token = secrets.token_urlsafe(8)
        self.tokens.append(access_token)
        id_token = signed(self.algorithm, self.signing_key, **claims)
        return web.json_response(
            {"access_token": access_token, "token_type": "Bearer", "id_token": id_token}
        )

    async def userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"].removeprefix("Bearer ") in self.tokens
        return web.json_response({**self.person, "sub": self.userinfo_sub or self.person["sub"]})


@asynccontextmanager
async def serving(provider: Provider) -> AsyncIterator[Provider]:
    """The provider at an address of its own."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/.well-known/openid-configuration", provider.discovery),
            web.get("/jwks", provider.jwks),
            web.get("/authorize", provider.authorize),
            web.post("/token", provider.token),
            web.get("/userinfo", provider.userinfo),
        ]
    )
    async with TestServer(app) as server:
        provider.issuer = str(server.make_url("")).rstrip("/")
        yield provider
