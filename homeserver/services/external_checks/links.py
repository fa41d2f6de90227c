"""Addresses by which a webhook fetches the file that it is asked about, while it is asked.

They are signed and expire; a file that was refused is gone by then, and one that was accepted has
moved, so an address is good for one question.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from urllib.parse import urlencode

from homeserver.errors import Forbidden
from homeserver.services.media_blobs import MediaBlob

PATH = "/_comity/checks/media"
VALID_SECONDS = 120
_NAME = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")


class CheckLinks:
    """Makes and checks signed addresses of files."""

    def __init__(
        self,
        *,
        base_url: str,
        secret: bytes,
        find_file: Callable[[str], MediaBlob],
        clock_ms: Callable[[], int],
    ) -> None:
        self._base_url = base_url
        self._key = hashlib.blake2b(secret, person=b"comity-checks").digest()
        self._find_file = find_file
        self._clock_ms = clock_ms

    def make(self, blob: MediaBlob) -> str:
        """The address of a file in the media directory."""
        expires = self._clock_ms() // 1000 + VALID_SECONDS
        query = urlencode({"expires": expires, "mac": self._mac(blob.name, str(expires))})
        return f"{self._base_url}{PATH}/{blob.name}?{query}"

    def open(self, name: str, expires: str, mac: str) -> MediaBlob:
        """The file of an address.  Raises :class:`Forbidden` if it is forged or expired."""
        valid = hmac.compare_digest(mac.encode(), self._mac(name, expires).encode())
        if not valid or not _NAME.fullmatch(name) or int(expires) < self._clock_ms() // 1000:
            raise Forbidden("This address is not valid, or not any more")
        return self._find_file(name)

    def _mac(self, name: str, expires: str) -> str:
        return hmac.new(self._key, f"{name}?{expires}".encode(), hashlib.sha256).hexdigest()
