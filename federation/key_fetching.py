"""Getting other instances' keys: from themselves, or from a notary.

Spec: server-server API, retrieving server keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from federation.client import FederationClient
from federation.errors import FederationFailure
from homeserver.protocol.events import JsonObject
from homeserver.protocol.signing import (
    ALGORITHM,
    BadKey,
    BadSignature,
    VerifyKey,
    signing_key_ids,
    verify_json,
)
from homeserver.storage.server_keys import ServerKey

DIRECT_PATH = "/_matrix/key/v2/server"
QUERY_PATH = "/_matrix/key/v2/query"
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
TIMEOUT_SECONDS = 15.0
LONGEST_VALIDITY_MS = 7 * 24 * 3600 * 1000


class BadKeyResponse(FederationFailure):
    """What came is no signed list of that server's keys."""


class KeyFetcher:
    """Asks for keys; whatever it returns bears a good signature of the server it is about."""

    def __init__(self, client: FederationClient, clock_ms: Callable[[], int]) -> None:
        self._client = client
        self._clock_ms = clock_ms

    async def fetch(self, server_name: str) -> tuple[list[ServerKey], JsonObject]:
        """A server's keys from itself, with its answer.  Raises :class:`FederationFailure`.

        Back-off is not heeded: whoever signs requests to us is up, whatever we have noted.
        """
        response = await self._client.get(
            server_name,
            DIRECT_PATH,
            sign=False,
            max_bytes=MAX_BYTES,
            timeout_seconds=TIMEOUT_SECONDS,
            interactive=False,
        )
        return parse_key_response(server_name, response, self._clock_ms()), response

    async def fetch_through(
        self, notary: str, server_name: str, key_id: str, minimum_valid_until_ts: int
    ) -> list[JsonObject]:
        """The answers about a server that a notary has; who signed them is not yet checked."""
        answer = await self._client.post(
            notary,
            QUERY_PATH,
            body={
                "server_keys": {
                    server_name: {key_id: {"minimum_valid_until_ts": minimum_valid_until_ts}}
                }
            },
            max_bytes=MAX_BYTES,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        responses = answer.get("server_keys")
        if not isinstance(responses, list):
            raise BadKeyResponse(notary, "it sent no list of keys")
        return [
            response
            for response in responses[:MAX_KEYS]
            if isinstance(response, dict) and response.get("server_name") == server_name
        ]


def parse_key_response(server_name: str, response: JsonObject, now_ms: int) -> list[ServerKey]:
    """The keys in a server's answer, which must bear its own signature.

    Raises: :class:`BadKeyResponse`.  Spec: ``GET /_matrix/key/v2/server``: the lesser of
    ``valid_until_ts`` and 7 days into the future counts.
    """
    if response.get("server_name") != server_name:
        raise BadKeyResponse(server_name, "the keys are another server's")
    valid_until = response.get("valid_until_ts")
    if not _is_timestamp(valid_until):
        raise BadKeyResponse(server_name, "the keys have no valid_until_ts")
    valid_until = min(valid_until, now_ms + LONGEST_VALIDITY_MS)
    current = _keys_in(server_name, response.get("verify_keys"))
    _check_signatures(server_name, response, current)
    keys = [
        ServerKey(server_name, key_id, key.data, valid_until, None, now_ms)
        for key_id, (key, _) in current.items()
    ]
    for key_id, (key, entry) in _keys_in(server_name, response.get("old_verify_keys")).items():
        expired_ts = entry.get("expired_ts")
        if key_id not in current and _is_timestamp(expired_ts):
            keys.append(ServerKey(server_name, key_id, key.data, valid_until, expired_ts, now_ms))
    return keys


def _is_timestamp(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _keys_in(server_name: str, entries: Any) -> dict[str, tuple[VerifyKey, JsonObject]]:
    if entries is None:
        return {}
    if not isinstance(entries, dict) or len(entries) > MAX_KEYS:
        raise BadKeyResponse(server_name, "its list of keys is malformed")
    found = {}
    for key_id, entry in entries.items():
        if not key_id.startswith(f"{ALGORITHM}:") or "\0" in key_id:
            continue
        if not isinstance(entry, dict):
            raise BadKeyResponse(server_name, "its list of keys is malformed")
        try:
            found[key_id] = (VerifyKey.from_base64(entry.get("key")), entry)
        except BadKey as error:
            raise BadKeyResponse(server_name, f"a key is malformed: {error}") from error
    return found


def _check_signatures(
    server_name: str, response: JsonObject, keys: dict[str, tuple[VerifyKey, JsonObject]]
) -> None:
    """At least one of the keys signed the answer, and none of their signatures is wrong."""
    signed_by = [key_id for key_id in signing_key_ids(response, server_name) if key_id in keys]
    if not signed_by:
        raise BadKeyResponse(server_name, "the keys are not signed by any of themselves")
    for key_id in signed_by:
        try:
            verify_json(response, server_name, key_id, keys[key_id][0])
        except BadSignature as error:
            raise BadKeyResponse(server_name, f"the keys are signed wrongly: {error}") from error
