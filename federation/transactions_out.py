"""Transactions going out: what is in one, and its bytes.

Spec: server-server API, transactions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from homeserver.protocol.canonical import encode_canonical_json
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.storage.outbox import PendingEdu, PendingPdu

MAX_PDUS = 50
MAX_EDUS = 100


class OutgoingPdu:
    """An event on its way out.  Its JSON is made once, however many instances get it."""

    __slots__ = ("_json", "_pdu", "event_id", "position")

    def __init__(self, position: int, event_id: str, pdu: JsonObject) -> None:
        self.position = position
        self.event_id = event_id
        self._pdu = pdu
        self._json: bytes | None = None

    @classmethod
    def from_event(cls, position: int, event: Event) -> OutgoingPdu:
        """An event that has just been written."""
        return cls(position, event.event_id, event.pdu)

    @classmethod
    def from_row(cls, row: PendingPdu) -> OutgoingPdu:
        """An event from the database; what was redacted meanwhile goes out redacted."""
        pdu: JsonObject = orjson.loads(row.pdu)
        if row.redacted:
            pdu = redact(pdu, ROOM_VERSIONS[row.room_version])
        return cls(row.position, row.event_id, pdu)

    def erase(self, redacted: JsonObject) -> None:
        """Its content was deleted here before everybody had it: it goes out redacted."""
        self._pdu, self._json = redacted, None

    @property
    def json(self) -> bytes:
        """Canonical JSON of the PDU, without what other instances have no use for."""
        if self._json is None:
            covered = {key: value for key, value in self._pdu.items() if key != "unsigned"}
            self._json = encode_canonical_json(covered)
        return self._json


@dataclass(frozen=True, slots=True)
class Transaction:
    """What goes to an instance at once.

    ``ephemeral`` are EDUs that need not arrive.  ``nonce`` tells transactions apart that have
    nothing durable in them.
    """

    pdus: Sequence[OutgoingPdu] = ()
    edus: Sequence[PendingEdu] = ()
    ephemeral: Sequence[JsonObject] = ()
    nonce: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.pdus) + len(self.edus) + len(self.ephemeral))

    @property
    def txn_id(self) -> str:
        """An ID that follows from the durable content.

        So the same content sent again, even by another process after a crash, is known to the
        other side as the same transaction.
        """
        digest = hashlib.sha256()
        for pdu in self.pdus:
            digest.update(b"p%d." % pdu.position)
        for edu in self.edus:
            digest.update(b"e%d." % edu.edu_id)
        if self.ephemeral or not (self.pdus or self.edus):
            digest.update(self.nonce.encode())
        position = self.pdus[-1].position if self.pdus else 0
        return f"{position}-{digest.hexdigest()[:20]}"

    def body(self, origin: str, now_ms: int) -> bytes:
        """The transaction as canonical JSON; the PDUs are spliced in as they are."""
        edus = [{"edu_type": edu.edu_type, "content": edu.content} for edu in self.edus]
        return b'{"edus":%b,"origin":%b,"origin_server_ts":%d,"pdus":[%b]}' % (
            encode_canonical_json([*edus, *self.ephemeral]),
            orjson.dumps(origin),
            now_ms,
            b",".join(pdu.json for pdu in self.pdus),
        )
