"""How ``comity ...`` asks the running server: by the admin API, on this machine."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import click

from homeserver.config import Config

TIMEOUT_SECONDS = 60
PAGE = 500
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(config: Config, method: str, path: str, body: Any = None) -> Any:
    """The server's answer to ``/_comity/admin/v1`` + ``path``; what goes wrong ends the command."""
    from homeserver.app import load_signing_keys
    from homeserver.services.admin_tokens import AdminTokens

    address = config.listen.client
    host = EVERY_ADDRESS.get(address.host, address.host)
    shown = f"[{host}]" if ":" in host else host
    try:
        token = AdminTokens(bytes(load_signing_keys(config)[0].seed)).make()
    except OSError as error:
        raise click.ClickException(
            f"Cannot read the signing key {config.signing_key_file}: {error.strerror}"
        ) from None
    request = urllib.request.Request(
        f"http://{shown}:{address.port}/_comity/admin/v1{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise click.ClickException(_reason(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"The server does not answer at {address}: {error}. Is it running?"
        ) from None


def ask_for_all(
    config: Config, path: str, query: Mapping[str, Any], most: int
) -> Iterator[dict[str, Any]]:
    """The items of a list, page after page, up to ``most``; parts of the query may be None."""
    given = {name: _plain(value) for name, value in query.items() if value is not None}
    while most > 0:
        given["limit"] = str(min(most, PAGE))
        answer = ask(config, "GET", f"{path}?{urllib.parse.urlencode(given)}")
        yield from answer["items"]
        most -= len(answer["items"])
        if answer["next"] is None:
            return
        given["cursor"] = answer["next"]


def part(text: str) -> str:
    """A text as one part of a path."""
    return urllib.parse.quote(text, safe="")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        text = json.load(error).get("error")
    except (ValueError, AttributeError):
        text = None
    return str(text or error)
