"""Whose e-mail addresses are whose, as far as pushers ask; and the links that end a pusher."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode

from homeserver.errors import Forbidden
from homeserver.protocol.email_addresses import InvalidEmailAddress, canonical_email
from homeserver.services.push.pushers import Pushers
from homeserver.storage import push_mail as storage
from homeserver.storage.database import Database
from homeserver.storage.pushers import Pusher

UNSUBSCRIBE_PATH = "/_comity/push/unsubscribe"


class AccountAddresses:
    """Looks up the addresses that accounts have shown to be theirs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_email(self, user_id: str, address: str) -> bool:
        """Whether the user has shown that the address is theirs."""
        try:
            canonical = canonical_email(address)
        except InvalidEmailAddress:
            return False
        return await storage.has_email(self._database, user_id, canonical)


class UnsubscribeLinks:
    """Addresses by which whoever gets the mails has no more sent, without logging in."""

    def __init__(self, *, base_url: str, secret: bytes, pushers: Pushers) -> None:
        self._base_url = base_url
        self._key = hashlib.blake2b(secret, person=b"comity-unsubscr").digest()
        self._pushers = pushers

    def make(self, pusher: Pusher) -> str:
        """The address for a pusher: good as long as there is one for that user and address."""
        query = urlencode(
            {
                "user": pusher.user_id,
                "address": pusher.pushkey,
                "mac": self._mac(pusher.user_id, pusher.pushkey),
            }
        )
        return f"{self._base_url}{UNSUBSCRIBE_PATH}?{query}"

    def check(self, user_id: str, address: str, mac: str) -> list[Pusher]:
        """The pushers that a link is about.  Raises :class:`Forbidden` if it is forged."""
        expected = self._mac(user_id, address)
        if not hmac.compare_digest(
            mac.encode("utf-8", "replace"), expected.encode("utf-8", "replace")
        ):
            raise Forbidden("This link is not valid")
        return [
            pusher
            for pusher in self._pushers.of(user_id)
            if pusher.kind == "email" and pusher.pushkey == address
        ]

    def _mac(self, user_id: str, address: str) -> str:
        text = f"{user_id}\0{address}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
