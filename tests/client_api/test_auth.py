"""Where a request comes from."""

import pytest
from aiohttp.test_utils import make_mocked_request

from homeserver.callers import caller_key


@pytest.mark.parametrize(
    ("peer", "forwarded", "key"),
    [
        ("198.51.100.7", None, "198.51.100.7"),
        ("::ffff:198.51.100.7", None, "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "rubbish", "127.0.0.1"),
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("", None, ""),
    ],
)
def test_callers_are_told_apart_by_address(peer: str, forwarded: str | None, key: str):
    """A proxy on this machine is believed, a caller from elsewhere is not."""
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)

    assert caller_key(request) == key
