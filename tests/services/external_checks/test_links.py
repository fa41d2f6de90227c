"""Addresses by which a check fetches the file that it is asked about."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from homeserver.errors import Forbidden
from homeserver.services.external_checks.links import VALID_SECONDS, CheckLinks
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_files import MediaFiles

NAME = "0123456789abcdef" * 2


class World:
    """Links, and a clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000_000
        self.files = MediaFiles(Path("/media"))
        self.links = CheckLinks(
            base_url="https://one.example",
            secret=b"secret",
            find_file=self.files.named,
            clock_ms=lambda: self.now_ms,
        )

    def address(self, blob: MediaBlob) -> tuple[str, str, str]:
        """An address in its parts: name, expiry, signature."""
        url = urlsplit(self.links.make(blob))
        query = parse_qs(url.query)
        return url.path.rpartition("/")[2], query["expires"][0], query["mac"][0]


def test_an_address_leads_to_the_file_it_was_made_for() -> None:
    world = World()
    stored = world.files.blob(b"\x07" * 32)
    incoming = MediaBlob(Path("/media/incoming") / NAME)

    assert world.links.open(*world.address(stored)) == stored
    assert world.links.open(*world.address(incoming)) == incoming


def test_an_address_expires() -> None:
    world = World()
    address = world.address(MediaBlob(Path(NAME)))

    world.now_ms += VALID_SECONDS * 1000
    assert world.links.open(*address)
    world.now_ms += 1000
    with pytest.raises(Forbidden):
        world.links.open(*address)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_forged_address_leads_nowhere(part: int) -> None:
    world = World()
    address = list(world.address(MediaBlob(Path(NAME))))

    for forged in ("f" * 32, "9" * 12, "", "../../signing.key", "é"):
        with pytest.raises(Forbidden):
            world.links.open(*(forged if n == part else each for n, each in enumerate(address)))


def test_a_signed_name_that_is_no_file_leads_nowhere() -> None:
    world = World()

    with pytest.raises(Forbidden):
        world.links.open(*world.address(MediaBlob(Path("/media/signing.key"))))
