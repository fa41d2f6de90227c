"""The TLS certificate of the listener for other servers, and its renewal while the server runs.

Certificates are renewed every few weeks by programs that know nothing of this one: so the files are
looked at again and again, and at once on SIGHUP.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 600.0

Stamp = tuple[int, int, int]


class ListenerCertificate:
    """A certificate with its key, and the TLS context that presents it."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises :class:`OSError`, of which :class:`ssl.SSLError` is one, if it cannot be used."""
        self._certificate, self._key = certificate, key
        self._seen = self._stamps()
        self.context = _context(certificate, key)

    async def keep_fresh(self, every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        """Present a renewed certificate soon after its files have changed; until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                changed = self._stamps() != self._seen
            except OSError:  # just now being replaced
                continue
            if changed:
                self.reload()

    def reload(self) -> bool:
        """Present to new connections what the files hold now; open connections stay.

        Whether it could be used; if not, the one in use stays, and the log says why.
        """
        try:
            seen = self._stamps()
            _context(self._certificate, self._key)  # the one in use must not be left half replaced
            self.context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            logger.error("certificate not reloaded", file=str(self._certificate), error=str(error))
            return False
        self._seen = seen
        logger.info("certificate reloaded", file=str(self._certificate))
        return True

    def _stamps(self) -> tuple[Stamp, Stamp]:
        return _stamp(self._certificate), _stamp(self._key)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _stamp(path: Path) -> Stamp:
    """What changes when a file does; of a link, what it leads to."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
