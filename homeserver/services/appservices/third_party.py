"""Third-party networks: what application services tell of them, merged.

Spec: client-server API, third-party networks; application service API, third-party networks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import structlog

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.appservices.client import UNSTABLE, V1, NoAnswer, ServiceClient
from homeserver.services.appservices.registration import AppService
from homeserver.services.appservices.registry import AppServices

logger = structlog.get_logger(__name__)

LOOK_UP_SECONDS = 5.0
FRESH_SECONDS = 60.0
MOST_RESULTS = 500
LOCATION, USER = "location", "user"
NAMES_OF = {LOCATION: "alias", USER: "userid"}
LISTS = ("user_fields", "location_fields")


class ThirdPartyNetworks:
    """Asks all that know a network at once, for a few seconds at most."""

    def __init__(self, *, services: AppServices, client: ServiceClient) -> None:
        self._services = services
        self._client = client
        self._known: dict[tuple[str, str], tuple[float, JsonObject | None]] = {}

    # ------------------------------------------------------------ protocols

    async def protocols(self) -> dict[str, JsonObject]:
        """All networks that somebody answers for now."""
        names = {name for service in self._services.all for name in service.protocols}
        found = await asyncio.gather(*map(self._protocol, sorted(names)))
        return {
            name: described
            for name, described in zip(sorted(names), found, strict=True)
            if described is not None
        }

    async def protocol(self, name: str) -> JsonObject:
        """One network.  Raises :class:`NotFound`."""
        described = await self._protocol(name)
        if described is None:
            raise NotFound("No such network is bridged here")
        return described

    async def _protocol(self, name: str) -> JsonObject | None:
        services = self._of(name)
        found = await asyncio.gather(*(self._description(each, name) for each in services))
        answers = [each for each in found if each is not None]
        if not answers:
            return None
        instances = [instance for answer in answers for instance in answer["instances"]]
        return {**answers[0], "instances": instances}

    async def _description(self, service: AppService, name: str) -> JsonObject | None:
        key, now = (service.id, name), time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        answer = await self._ask(service, f"protocol/{quote(name, safe='')}", {})
        described = _description(answer, service.id)
        if described is not None:
            self._known[key] = (now, described)
        return described

    def _of(self, protocol: str) -> list[AppService]:
        return [each for each in self._services.all if protocol in each.protocols]

    # ------------------------------------------------------------ looking up

    async def look_up(
        self, kind: str, protocol: str, fields: Mapping[str, str]
    ) -> list[JsonObject]:
        """Rooms or users (``kind``) that stand for something in a network.

        Raises :class:`NotFound`.
        """
        services = self._of(protocol)
        if not services:
            raise NotFound("No such network is bridged here")
        return await self._merged(services, f"{kind}/{quote(protocol, safe='')}", fields, kind)

    async def look_back(self, kind: str, name: str) -> list[JsonObject]:
        """What a room alias or user (``kind``) stands for.  Raises :class:`NotFound`."""
        services = [service for service in self._services.all if service.protocols]
        return await self._merged(services, kind, {NAMES_OF[kind]: name}, kind)

    async def _merged(
        self, services: Sequence[AppService], path: str, query: Mapping[str, str], kind: str
    ) -> list[JsonObject]:
        answers = await asyncio.gather(*(self._ask(each, path, query) for each in services))
        found = [
            entry
            for answer in answers
            if isinstance(answer, list)
            for entry in answer
            if _is_result(entry, NAMES_OF[kind])
        ]
        if not found:
            raise NotFound("Nothing was found")
        return found[:MOST_RESULTS]

    async def _ask(self, service: AppService, path: str, query: Mapping[str, str]) -> Any:
        """A service's answer; None if it has none."""
        if service.url is None:
            return None
        paths = (f"{V1}/thirdparty/{path}", f"{UNSTABLE}/thirdparty/{path}")
        try:
            answer = await self._client.ask(service, paths, query, seconds=LOOK_UP_SECONDS)
        except NoAnswer as failure:
            logger.warning(
                "a third-party network was looked up in vain", id=service.id, reason=failure.text
            )
            return None
        return answer.json if answer.ok else None


def instance_id(appservice_id: str, network_id: str) -> str:
    """The ID by which a network is one on this instance: ``third_party_instance_id``."""
    return f"{appservice_id}|{network_id}"


def _description(answer: Any, appservice_id: str) -> JsonObject | None:
    """A network as it is described, completed; None for what is no description."""
    if not isinstance(answer, dict):
        return None
    described = {key: value for key, value in answer.items() if key != "instances"}
    for key in LISTS:
        fields = answer.get(key)
        fields = fields if isinstance(fields, list) else []
        described[key] = [field for field in fields if isinstance(field, str)]
    if not isinstance(described.get("icon"), str):
        described["icon"] = ""
    if not isinstance(described.get("field_types"), dict):
        described["field_types"] = {}
    instances = answer.get("instances")
    described["instances"] = [
        {**each, "instance_id": instance_id(appservice_id, each["network_id"])}
        for each in (instances if isinstance(instances, list) else [])
        if isinstance(each, dict)
        and isinstance(each.get("network_id"), str)
        and isinstance(each.get("desc"), str)
        and isinstance(each.get("fields"), dict)
    ]
    return described


def _is_result(entry: Any, name: str) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get(name), str)
        and isinstance(entry.get("protocol"), str)
        and isinstance(entry.get("fields"), dict)
    )
