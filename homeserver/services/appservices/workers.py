"""All workers of application services, how they fare, and whether the services are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.appservices.client import Answer, ServiceClient
from homeserver.services.appservices.delivering import Delivering, Fare
from homeserver.services.appservices.registration import AppService, Namespace
from homeserver.services.appservices.registry import AppServices
from homeserver.storage.log import Notice


class Workers:
    """One worker for each application service that has an address."""

    def __init__(
        self,
        *,
        services: AppServices,
        client: ServiceClient,
        make: Callable[[AppService], Delivering],
        head: Callable[[], int],
    ) -> None:
        """``head``: where the log stands."""
        self._services = services
        self._client = client
        self._head = head
        self._workers = {
            service.id: make(service) for service in services.all if service.url is not None
        }

    @property
    def any(self) -> bool:
        """Whether anybody is to be told of anything."""
        return bool(self._workers)

    async def start(self) -> None:
        """Begin to tell them what they missed."""
        for worker in self._workers.values():
            await worker.start()

    async def close(self) -> None:
        """Stop telling them."""
        for worker in self._workers.values():
            await worker.close()

    # ------------------------------------------------------------ hearing

    def on_notice(self, notice: Notice) -> None:
        """The log has grown."""
        for worker in self._workers.values():
            worker.on_notice(notice)

    def typing(self, room_id: str) -> None:
        """Who types in a room has changed."""
        for worker in self._workers.values():
            worker.typing(room_id)

    def presence(self, user_id: str) -> None:
        """How somebody is has changed."""
        for worker in self._workers.values():
            worker.presence(user_id)

    def keys_changed(self, user_id: str, device_id: str) -> None:
        """A device's keys were used up or filled."""
        for worker in self._workers.values():
            worker.keys_changed(user_id, device_id)

    def aliases_changed(self, room_id: str) -> None:
        """A room has other aliases."""
        for worker in self._workers.values():
            worker.interest.forget_aliases(room_id)

    # ------------------------------------------------------------ how they fare

    async def ping(self, service: AppService, transaction_id: str | None = None) -> Answer:
        """Whether a service is reached; if so, what waits for it waits no longer.

        Raises :class:`~homeserver.services.appservices.client.NoAnswer`.
        """
        answer = await self._client.ping(service, transaction_id)
        worker = self._workers.get(service.id)
        if answer.ok and worker is not None:
            worker.try_now()
        return answer

    async def skip(self, service: AppService) -> None:
        """Leave out all that waits for a service.  Raises :class:`NotFound`."""
        worker = self._workers.get(service.id)
        if worker is None:
            raise NotFound("This application service is told nothing: its url is null")
        await worker.skip()

    def states(self) -> list[JsonObject]:
        """All application services and how they fare, as the admin is shown them: no tokens."""
        return [self._state(service) for service in self._services.all]

    def _state(self, service: AppService) -> JsonObject:
        shown: JsonObject = {
            "id": service.id,
            "url": service.url,
            "sender": service.sender,
            "registration": str(service.file),
            "namespaces": {
                "users": _shown(service.users),
                "aliases": _shown(service.aliases),
                "rooms": _shown(service.rooms),
            },
            "protocols": list(service.protocols),
            "rate_limited": service.rate_limited,
            "exempt_from_consent": service.exempt_from_consent,
        }
        worker = self._workers.get(service.id)
        if worker is not None:
            shown["delivery"] = self._delivery(worker.fare)
        return shown

    def _delivery(self, fare: Fare) -> JsonObject:
        return {
            "position": fare.position,
            "lag": max(0, self._head() - fare.position),
            "accepted": fare.accepted,
            "waiting_since": fare.waiting_since,
            "waiting_events": fare.waiting_events,
            "failing_since": fare.failing_since,
            "last_success_at": fare.last_success_at,
            "last_error": fare.last_error,
        }


def _shown(namespaces: Iterable[Namespace]) -> list[JsonObject]:
    return [{"regex": each.regex, "exclusive": each.exclusive} for each in namespaces]
