"""Credentials for TURN servers, made of a secret that these share with this instance.

The server checks them by itself: coturn's ``use-auth-secret``, draft-uberti-behave-turn-rest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence

from msgspec import Struct


class TurnCredentials(Struct, frozen=True):
    """Good for the servers at ``uris`` until ``expires_at`` (ms)."""

    uris: Sequence[str]
    username: str
    password: str
    ttl_seconds: int
    expires_at: int


class Turn:
    """Makes credentials for users."""

    def __init__(
        self,
        *,
        uris: Sequence[str],
        shared_secret: str | None,
        ttl_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._uris = tuple(uris)
        self._secret = shared_secret
        self._ttl_ms = ttl_ms
        self._clock_ms = clock_ms

    def credentials(self, user_id: str) -> TurnCredentials | None:
        """A user's credentials; None where the instance has no TURN server."""
        if not self._uris or self._secret is None:
            return None
        expires_at = self._clock_ms() + self._ttl_ms
        username = f"{expires_at // 1000}:{user_id}"
        digest = hmac.new(self._secret.encode(), username.encode(), hashlib.sha1).digest()
        password = base64.b64encode(digest).decode()
        return TurnCredentials(self._uris, username, password, self._ttl_ms // 1000, expires_at)
