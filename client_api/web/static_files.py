"""Files that browsers load: read once, answered from memory, and not sent again while unchanged."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from aiohttp import hdrs, web
from msgspec import Struct

DIRECTORY = Path(__file__).parent / "static"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class StaticFile(Struct, frozen=True):
    """A file's bytes, plain and compressed, and the ETag of what is in it."""

    content_type: str
    plain: bytes
    compressed: bytes
    etag: str

    @classmethod
    def read(cls, name: str, content_type: str) -> StaticFile:
        """Read ``static/{name}``.  Raises ``OSError`` if the installation lacks it."""
        plain = (DIRECTORY / name).read_bytes()
        etag = hashlib.sha256(plain).hexdigest()[:20]
        return cls(content_type, plain, gzip.compress(plain, 9, mtime=0), etag)

    def answer(self, request: web.Request) -> web.Response:
        """The file, or 304 where the browser has it; browsers ask each time (``no-cache``)."""
        headers = {
            **PAGE_HEADERS,
            hdrs.CACHE_CONTROL: "no-cache",
            hdrs.ETAG: f'W/"{self.etag}"',
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
        }
        known = request.if_none_match or ()
        if any(tag.value in (self.etag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        body = self.plain
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            headers[hdrs.CONTENT_ENCODING] = "gzip"
            body = self.compressed
        return web.Response(
            body=body, content_type=self.content_type, charset="utf-8", headers=headers
        )
