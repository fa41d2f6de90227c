"""Asking the policy server of a room for its signature.

Spec: server-server API, ``POST /_matrix/policy/v1/sign``.
"""

from __future__ import annotations

import asyncio
import hashlib
from http import HTTPStatus
from weakref import WeakValueDictionary

from federation.client import FederationClient
from federation.errors import OWN_AFFAIRS, FederationFailure, PeerError, Temporary
from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.canonical import encode_canonical_json
from homeserver.protocol.events import JsonObject
from homeserver.services.shared_tasks import SharedTasks

PATH = "/_matrix/policy/v1/sign"
DEADLINE_SECONDS = 5.0
MAX_ANSWER_BYTES = 65_536
MOST_AT_ONCE = 32  # questions to one policy server


class PolicyServerClient:
    """Asks other instances to sign events."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client
        self._asking: SharedTasks[tuple[str, bytes], JsonObject] = SharedTasks("policy server")
        self._limits: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def sign(self, via: str, pdu: JsonObject) -> JsonObject:
        """What a policy server answers for an event: its signatures, by server and key ID.

        Returns within the deadline; the same event is in question once at a time.  Raises
        :class:`MatrixError`: the refusal as it came, or :class:`Forbidden` if there is no answer.
        """
        body = encode_canonical_json({k: v for k, v in pdu.items() if k != "unsigned"})
        key = (via, hashlib.sha256(body).digest())
        try:
            return await self._asking.run(key, lambda: self._ask(via, body))
        except FederationFailure as failure:
            raise _to_matrix_error(via, failure) from failure

    async def _ask(self, via: str, body: bytes) -> JsonObject:
        limit = self._limits.get(via)
        if limit is None:
            limit = self._limits[via] = asyncio.Semaphore(MOST_AT_ONCE)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), limit:
                return await self._client.post(
                    via,
                    PATH,
                    body=body,
                    timeout_seconds=DEADLINE_SECONDS,
                    max_bytes=MAX_ANSWER_BYTES,
                )
        except TimeoutError as error:
            raise Temporary(via, "no answer in time") from error


def _to_matrix_error(via: str, failure: FederationFailure) -> MatrixError:
    """A refusal goes to the sender word for word; anything else is named as what it is."""
    if isinstance(failure, PeerError) and failure.errcode not in OWN_AFFAIRS:
        refused = HTTPStatus.BAD_REQUEST <= failure.status < HTTPStatus.INTERNAL_SERVER_ERROR
        if refused and failure.status != HTTPStatus.UNAUTHORIZED:
            return failure.to_matrix_error()
    return Forbidden(f"This room's policy server, {via}, could not be asked: {failure.reason}")
