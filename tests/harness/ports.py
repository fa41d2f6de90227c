"""Ports for servers that have to be told theirs before they listen."""

import random
import socket

# Below the range that the kernel takes ports of outgoing connections from, so that a port is
# still free when a server is started, or started again after it was killed.
PORTS = range(20_000, 32_000)
_chance = random.SystemRandom()  # another for each of the runs at a time


def free_port(address: str = "127.0.0.1", *, following: int = 0) -> int:
    """A port of an address on which nobody listens, nor on so many that follow it."""
    while True:
        port = _chance.choice(PORTS)
        if all(_is_free(address, port + more) for more in range(following + 1)):
            return port


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
