"""Which URLs are looked at: what users name, where pages redirect to, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from re import Pattern

from yarl import URL

from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.urls import to_url

MAX_URL = 2_048
SCHEMES = ("http", "https")


class UrlRules:
    """Hosts and ports of which previews are made.

    To which addresses connections are made is decided where they are made, by the address itself.
    """

    def __init__(
        self, *, ports: Sequence[int], allow_hosts: Sequence[str] | None, deny_hosts: Sequence[str]
    ) -> None:
        """``allow_hosts``, ``deny_hosts``: globs; None allows all."""
        self._ports = frozenset(ports)
        self._allow = None if allow_hosts is None else _patterns(allow_hosts)
        self._deny = _patterns(deny_hosts)

    def parse(self, text: str) -> URL:
        """A URL without its fragment, if it may be looked at.

        Raises what :func:`parse_url` raises, and :class:`Forbidden` for hosts and ports that are
        not looked at.
        """
        url = parse_url(text)
        if url.port not in self._ports or not self._is_allowed(host_of(url)):
            raise Forbidden("This server makes no previews of that site")
        return url

    def join(self, base: URL, text: str) -> URL | None:
        """What a reference on a page leads to; None if that is not looked at."""
        text = text.strip()
        if not 0 < len(text) <= MAX_URL:
            return None
        try:
            return self.parse(str(base.join(to_url(text))))
        except (ValueError, InvalidParam, Forbidden):
            return None

    def _is_allowed(self, host: str) -> bool:
        if any(pattern.match(host) for pattern in self._deny):
            return False
        return self._allow is None or any(pattern.match(host) for pattern in self._allow)


def parse_url(text: str) -> URL:
    """A web address without its fragment.  Raises :class:`InvalidParam` for what is none."""
    if not 0 < len(text) <= MAX_URL:
        raise InvalidParam(f"'url' must have 1 to {MAX_URL} characters")
    try:
        url = to_url(text).with_fragment(None)
        host, port = url.raw_host, url.port
        credentials = url.raw_user is not None or url.raw_password is not None
    except ValueError as error:
        raise InvalidParam("'url' is not a URL") from error
    if url.scheme not in SCHEMES or not host or port is None or not text.isprintable():
        raise InvalidParam("'url' must be an http or https URL")
    if credentials:
        raise InvalidParam("'url' must not contain a user name or a password")
    return url


def host_of(url: URL) -> str:
    """A URL's host, as it is compared and kept."""
    return (url.raw_host or "").rstrip(".").lower()


def _patterns(globs: Sequence[str]) -> list[Pattern[str]]:
    return [glob_to_regex(glob.rstrip(".").lower()) for glob in globs]
