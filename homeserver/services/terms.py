"""The documents that users accept: at registration, and again when there is a newer version.

Spec: client-server API, terms of service at registration.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from homeserver.errors import ConsentNotGiven, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.storage import terms as storage
from homeserver.storage.database import Database, Queryable
from homeserver.storage.terms import AcceptedTerms

REQUIRE = "require"
CACHED_USERS = 100_000
ENGLISH = "en"


class Translation(Struct, frozen=True):
    """A document in one language."""

    title: str
    url: str


class Document(Struct, frozen=True):
    """A document at its present version; ``languages``: language tag -> translation."""

    name: str
    version: str
    languages: Mapping[str, Translation]

    @property
    def key(self) -> str:
        """What a ticked box says: this document at this version."""
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Document:
        """One of ``registration.terms``, as it stands in the configuration."""
        languages = {tag: Translation(**text) for tag, text in document["languages"].items()}
        return cls(document["name"], document["version"], languages)

    def in_language(self, wanted: Sequence[str]) -> tuple[str, Translation]:
        """The language tag and text that suit a reader best; English where none does."""
        by_tag = {tag.lower(): tag for tag in self.languages}
        for tag in (*wanted, ENGLISH):
            for candidate in (tag.lower(), tag.lower().partition("-")[0]):
                if candidate in by_tag:
                    return by_tag[candidate], self.languages[by_tag[candidate]]
        return next(iter(self.languages.items()))


class Terms:
    """Says what is to be accepted, and notes what was."""

    def __init__(
        self,
        *,
        documents: Sequence[Document],
        update: str,
        database: Database,
        consent_uri: Callable[[str], str],
        clock_ms: Callable[[], int],
    ) -> None:
        """``update``: ``notify`` or ``require``; ``consent_uri`` makes the page's address."""
        self.documents = documents
        self.versions = {document.name: document.version for document in documents}
        self._required = update == REQUIRE and bool(documents)
        self._database = database
        self._consent_uri = consent_uri
        self._clock_ms = clock_ms
        self._accepted: OrderedDict[str, None] = OrderedDict()  # who has accepted the newest

    # ------------------------------------------------------------ at registration

    def params(self) -> JsonObject:
        """The parameters of the stage ``m.login.terms``."""
        return {
            "policies": {
                document.name: {
                    "version": document.version,
                    **{
                        tag: {"name": text.title, "url": text.url}
                        for tag, text in document.languages.items()
                    },
                }
                for document in self.documents
            }
        }

    async def stage(self, _auth: JsonObject, _user_id: str | None) -> dict[str, str]:
        """The stage ``m.login.terms``; yields the versions that are accepted."""
        return dict(self.versions)

    def check_ticked(
        self, keys: Sequence[str], documents: Sequence[Document] | None = None
    ) -> None:
        """Raise :class:`MissingParam` unless each document's box on a page was ticked."""
        for document in self.documents if documents is None else documents:
            if document.key not in keys:
                _, text = document.in_language(())
                raise MissingParam(f"You have not accepted: {text.title}")

    # ------------------------------------------------------------ keeping

    async def accept(
        self, user_id: str, versions: Mapping[str, str], *, how: str, db: Queryable | None = None
    ) -> None:
        """Note what a user accepts (name -> version); ``db``: inside a transaction."""
        await storage.insert_accepted(
            db or self._database, user_id, versions, self._clock_ms(), how
        )

    async def accepted(self, user_id: str) -> list[AcceptedTerms]:
        """All that a user has ever accepted, the oldest first."""
        return await storage.get_accepted(self._database, user_id)

    async def missing(self, user_id: str) -> list[Document]:
        """The documents of which a user has not accepted the present version."""
        if not self.documents:
            return []
        accepted = {(row.name, row.version) for row in await self.accepted(user_id)}
        return [d for d in self.documents if (d.name, d.version) not in accepted]

    async def require(self, user_id: str) -> None:
        """Raise :class:`ConsentNotGiven` if a user must accept a document before they send.

        Who has accepted is remembered, so that it costs no query.
        """
        if not self._required:
            return
        if user_id in self._accepted:
            self._accepted.move_to_end(user_id)
            return
        if await self.missing(user_id):
            raise ConsentNotGiven(
                "There are new terms. Accept them on the page at consent_uri, then send again",
                self._consent_uri(user_id),
            )
        self._accepted[user_id] = None
        if len(self._accepted) > CACHED_USERS:
            self._accepted.popitem(last=False)
