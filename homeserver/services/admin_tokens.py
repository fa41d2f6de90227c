"""Tokens by which ``comity ...`` on this machine speaks to the running server as its admin.

Who can read the signing key may do everything here anyway; so the key makes the tokens, and no
password lies about for the command line.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

PREFIX = "comity-admin"
VALID_SECONDS = 60


class AdminTokens:
    """Makes and checks short-lived tokens of the command line."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = hashlib.blake2b(secret, person=b"comity-admin").digest()
        self._clock = clock

    def make(self) -> str:
        """A token that is good for a minute."""
        expires = int(self._clock()) + VALID_SECONDS
        return f"{PREFIX}.{expires}.{self._mac(expires)}"

    def check(self, token: str) -> bool:
        """Whether a token was made with our key and is still good."""
        prefix, _, rest = token.partition(".")
        expires, _, mac = rest.partition(".")
        if prefix != PREFIX or not (expires.isascii() and expires.isdigit()) or len(expires) > 12:
            return False
        valid = hmac.compare_digest(mac.encode(), self._mac(int(expires)).encode())
        return valid and int(expires) >= self._clock()

    def _mac(self, expires: int) -> str:
        return hmac.new(self._key, str(expires).encode(), hashlib.sha256).hexdigest()
