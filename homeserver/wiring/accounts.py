"""What belongs to having an account: terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client_api.web.consent import ConsentLinks
from client_api.web.terms import PATH as TERMS_PATH
from homeserver.services.terms import Document, Terms
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class AccountParts:
    """Terms that users accept."""

    def __init__(self, wiring: Wiring) -> None:
        config = wiring.config
        self.terms_links = ConsentLinks(
            base_url=config.public_base_url,
            secret=bytes(wiring.signing_key.seed) + b"terms",
            path=TERMS_PATH,
        )
        self.terms = Terms(
            documents=[Document.parse(item) for item in config.registration.terms],
            update=config.consent.terms_update,
            database=wiring.database,
            consent_uri=self.terms_links.make,
            clock_ms=clock_ms,
        )
