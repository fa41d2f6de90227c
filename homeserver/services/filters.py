"""Filters.  Spec: client-server API, filtering."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import orjson

from homeserver.errors import BadJson, Forbidden, InvalidParam, NotFound, NotJson
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import BadFilter, SyncFilter
from homeserver.storage import filters as storage
from homeserver.storage.database import Database

CACHED_FILTERS = 10_000
MAX_CACHED_LENGTH = 4_096  # of a definition in the query string
MAX_FILTERS_PER_USER = 1_000
INSERT_ATTEMPTS = 10


class FilterService:
    """Keeps filters, and hands them out compiled."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._compiled: OrderedDict[tuple[str, str] | str, SyncFilter] = OrderedDict()

    async def create(self, user_id: str, definition: JsonObject) -> str:
        """Store a filter; its ID.  The same definition again has the same ID.

        Raises: :class:`BadJson`.
        """
        parse_filter(definition)
        definition_hash = hashlib.sha256(
            orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)
        ).digest()
        for _ in range(INSERT_ATTEMPTS):
            known = await storage.find_filter(self._database, user_id, definition_hash)
            if known is not None:
                return str(known)
            if await storage.count_filters(self._database, user_id) >= MAX_FILTERS_PER_USER:
                break
            new = await storage.insert_filter(self._database, user_id, definition, definition_hash)
            if new is not None:
                return str(new)
        raise Forbidden("You have too many filters: use those that you have")

    async def get(self, user_id: str, filter_id: str) -> JsonObject:
        """A stored definition.  Raises: :class:`NotFound`."""
        number = int(filter_id) if filter_id.isascii() and filter_id.isdigit() else -1
        definition = None
        if 0 <= number < 2**63:
            definition = await storage.get_filter(self._database, user_id, number)
        if definition is None:
            raise NotFound("There is no such filter")
        return definition

    async def resolve(self, user_id: str, text: str) -> SyncFilter:
        """The filter that a query string names: an ID, or a definition in JSON.

        Raises: :class:`InvalidParam`, :class:`NotJson`, :class:`BadJson`.
        """
        key: tuple[str, str] | str = text if text.startswith("{") else (user_id, text)
        compiled = self._compiled.get(key)
        if compiled is None:
            if text.startswith("{"):
                definition = _parse_json(text)
            else:
                definition = await self._named(user_id, text)
            compiled = parse_filter(definition)
            if len(text) > MAX_CACHED_LENGTH:
                return compiled
            self._compiled[key] = compiled
            if len(self._compiled) > CACHED_FILTERS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return compiled

    async def _named(self, user_id: str, filter_id: str) -> JsonObject:
        try:
            return await self.get(user_id, filter_id)
        except NotFound as error:  # it is the parameter that is wrong, not the endpoint
            raise InvalidParam("There is no filter of that ID") from error


def _parse_json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotJson("The filter is neither an ID nor valid JSON") from error


def parse_filter(definition: object) -> SyncFilter:
    """Compile a definition.  Raises: :class:`BadJson`."""
    if not isinstance(definition, dict):
        raise InvalidParam("A filter must be a JSON object")
    try:
        return SyncFilter.parse(definition)
    except BadFilter as error:
        raise BadJson(f"The filter is not valid: {error}") from error
