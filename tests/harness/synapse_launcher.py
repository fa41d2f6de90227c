"""Run Synapse with a resolver that knows the names under test and nothing else.

Started with the Python of Synapse's own environment, in place of
`python -m synapse.app.homeserver`. Names of the zone answer the address that
`COMITY_TEST_ADDRESS` gives; every other name, and every SRV query, answers "no such name"
at once, so that no query leaves the machine. Nothing else of Synapse is changed.
"""

import importlib
import ipaddress
import os
import socket
import sys
from typing import Any

ADDRESS = os.environ["COMITY_TEST_ADDRESS"]
ZONE = os.environ["COMITY_TEST_ZONE"]

_getaddrinfo = socket.getaddrinfo


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _resolve(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name == "localhost" or _is_literal(name):
        return _getaddrinfo(host, *args, **kwargs)
    if name.endswith(f".{ZONE}"):
        return _getaddrinfo(ADDRESS, *args, **kwargs)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _twisted_resolver() -> Any:
    names = importlib.import_module("twisted.names")
    defer = importlib.import_module("twisted.internet.defer")

    class Nothing(names.common.ResolverBase):  # type: ignore[misc, name-defined]
        """Answers that there is no such name."""

        def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Any:
            return defer.fail(names.error.DomainError(name))

    return Nothing()


def run() -> None:
    """Put the resolvers in place, then run Synapse."""
    # Before Twisted is imported, since it keeps a reference of its own.
    socket.getaddrinfo = _resolve
    client = importlib.import_module("twisted.names.client")
    client.theResolver = _twisted_resolver()  # type: ignore[attr-defined]
    sys.argv[0] = "synapse"
    importlib.import_module("synapse.app.homeserver").main()


if __name__ == "__main__":
    run()
