"""An identity server: the v2 API over TLS, with real signatures, and nobody checked.

Whoever asks may bind any address to anybody.  Spec: identity service API.
"""

import hashlib
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from federation.request_signing import parse_authorization, signed_bytes
from homeserver.protocol.canonical import decode_base64, encode_base64, encode_canonical_json
from homeserver.protocol.signing import VerifyKey, generate_signing_key

from .network import Identity

BASE = "/_matrix/identity/v2"
PEPPER = "matrixrocks"
TOKEN = "identity-token"
LONG_TERM = generate_signing_key(bytes(range(1, 33)), "0")
EPHEMERAL = generate_signing_key(bytes(range(2, 34)), "e")


@dataclass
class IdentityServer:
    """`name` is its host and port; `asked` what it was asked, `stored` the invitations it keeps."""

    name: str
    algorithms: list[str] = field(default_factory=lambda: ["none", "sha256"])
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    stored: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    valid: bool = True
    redirect_to: str | None = None
    sessions: dict[tuple[str, str], str] = field(default_factory=dict)
    homeserver_key: VerifyKey | None = None
    refuses: bool = False

    @classmethod
    async def start_in(cls, place: Identity) -> tuple[Self, web.AppRunner]:
        """An identity server at a place of a network."""
        return await cls.start(
            place.delegation, place.address, place.federation_port, place.certificate, place.key
        )

    @classmethod
    async def start(
        cls, name: str, address: str, port: int, certificate: Path, key: Path
    ) -> tuple[Self, web.AppRunner]:
        """An identity server that answers, and what stops it."""
        server = cls(name)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        runner = web.AppRunner(server.app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address, port, ssl_context=context).start()
        return server, runner

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application(middlewares=[self._noted])
        app.add_routes(
            [
                web.get(f"{BASE}/hash_details", self._hash_details),
                web.post(f"{BASE}/lookup", self._lookup),
                web.post(f"{BASE}/store-invite", self._store_invite),
                web.post(f"{BASE}/3pid/bind", self._bind),
                web.post(f"{BASE}/3pid/unbind", self._unbind),
                web.get(f"{BASE}/pubkey/isvalid", self._is_valid),
                web.get(f"{BASE}/pubkey/ephemeral/isvalid", self._is_valid),
                web.get(f"{BASE}/pubkey/{{key_id}}", self._public_key),
            ]
        )
        return app

    # ------------------------------------------------------------ what its owner does

    def invite(self, address: str, inviter: str, room_id: str) -> str:
        """Note an invitation by hand; its token."""
        token = f"token.{len(self.stored)}_{inviter[1:3]}"
        self.stored.append(
            {
                "medium": "email",
                "address": address,
                "room_id": room_id,
                "sender": inviter,
                "token": token,
            }
        )
        return token

    def bind(self, address: str, user_id: str) -> dict[str, Any]:
        """Bind an e-mail address; the body of the request that tells the user's server."""
        self.owners[("email", address)] = user_id
        waiting = [kept for kept in self.stored if kept["address"] == address]
        invites = [
            {
                "medium": "email",
                "address": address,
                "mxid": user_id,
                "room_id": kept["room_id"],
                "sender": kept["sender"],
                "signed": self.sign(
                    {"mxid": user_id, "sender": kept["sender"], "token": kept["token"]}
                ),
            }
            for kept in waiting
        ]
        return {"medium": "email", "address": address, "mxid": user_id, "invites": invites}

    def sign(self, block: dict[str, Any]) -> dict[str, Any]:
        """A block with the signature of the long-term key."""
        signature = LONG_TERM.sign(encode_canonical_json(block))
        return {**block, "signatures": {self.name: {LONG_TERM.key_id: signature}}}

    async def tell(self, session: aiohttp.ClientSession, base_url: str, body: Any) -> int:
        """Tell a homeserver of a binding, by POST as identity servers do; the answer's status."""
        url = f"{base_url}/_matrix/federation/v1/3pid/onbind"
        async with session.post(url, json=body) as response:
            return response.status

    def public_keys(self) -> list[dict[str, str]]:
        """Its two keys, as rooms are told them."""
        return [
            {
                "public_key": key.verify_key.to_base64(),
                "key_validity_url": f"https://{self.name}{BASE}/pubkey/{path}isvalid",
            }
            for key, path in ((LONG_TERM, ""), (EPHEMERAL, "ephemeral/"))
        ]

    # ------------------------------------------------------------ what it answers

    @web.middleware
    async def _noted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path.removeprefix(f"{BASE}/"))
        if self.redirect_to is not None:
            raise web.HTTPTemporaryRedirect(self.redirect_to)
        authorised = (
            request.headers.get("Authorization") == f"Bearer {TOKEN}"
            or request.query.get("access_token") == TOKEN
        )
        open_ = "pubkey" in request.path or request.path.endswith("/3pid/unbind")
        if not open_ and not authorised:
            return web.json_response({"errcode": "M_UNAUTHORIZED", "error": "?"}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _hash_details(self, request: web.Request) -> web.Response:
        return web.json_response({"lookup_pepper": PEPPER, "algorithms": self.algorithms})

    def _hashed(self, algorithm: str, medium: str, address: str) -> str:
        text = f"{address} {medium}"
        if algorithm == "none":
            return text
        return encode_base64(hashlib.sha256(f"{text} {PEPPER}".encode()).digest(), urlsafe=True)

    async def _lookup(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["pepper"] != PEPPER or body["algorithm"] not in self.algorithms:
            return web.json_response({"errcode": "M_INVALID_PEPPER", "error": "?"}, status=400)
        known = {self._hashed(body["algorithm"], *key): mxid for key, mxid in self.owners.items()}
        found = {text: known[text] for text in body["addresses"] if text in known}
        return web.json_response({"mappings": found})

    async def _bind(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        session = self.sessions.get((body["sid"], body["client_secret"]))
        if session is None or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"errcode": "M_NO_VALID_SESSION", "error": "?"}, status=400)
        self.owners[("email", session)] = body["mxid"]
        answer = {"medium": "email", "address": session, "mxid": body["mxid"], "ts": 1}
        return web.json_response({**answer, "not_before": 0, "not_after": 2**50, "signatures": {}})

    async def _unbind(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw)
        header = parse_authorization(request.headers["Authorization"])
        signed = signed_bytes(
            method="POST",
            uri=request.path,
            origin=header.origin,
            destination=self.name,
            content=encode_canonical_json(body),
        )
        assert self.homeserver_key is not None
        self.homeserver_key.verify(signed, decode_base64(header.signature))
        if self.refuses:
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "?"}, status=403)
        threepid = (body["threepid"]["medium"], body["threepid"]["address"])
        if self.owners.get(threepid) == body["mxid"]:
            del self.owners[threepid]
        return web.json_response({})

    async def _store_invite(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        token = self.invite(body["address"], body["sender"], body["room_id"])
        self.stored[-1].update(body)
        keys = self.public_keys()
        answer = {
            "token": token,
            "public_key": keys[0]["public_key"],
            "public_keys": keys,
            "display_name": f"{body['address'][0]}...@...",
        }
        return web.json_response(answer)

    async def _is_valid(self, request: web.Request) -> web.Response:
        keys = [entry["public_key"] for entry in self.public_keys()]
        return web.json_response({"valid": self.valid and request.query["public_key"] in keys})

    async def _public_key(self, request: web.Request) -> web.Response:
        if request.match_info["key_id"] != LONG_TERM.key_id:
            return web.json_response({"errcode": "M_NOT_FOUND", "error": "?"}, status=404)
        return web.json_response({"public_key": LONG_TERM.verify_key.to_base64()})
