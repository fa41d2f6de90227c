"""Keys for end-to-end encryption: uploading, querying and claiming them.

Spec: client-server API, key management API; server-server API, end-to-end encryption.
Cross-signing is in :mod:`homeserver.services.cross_signing`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from msgspec import Struct, field

from homeserver.errors import InvalidParam, MatrixError, NotFound, TooLarge
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.device_lists import DeviceListService
from homeserver.services.key_checks import (
    check_device_keys,
    is_cross_signing_key,
    is_device_keys,
    parse_fallback_keys,
    parse_keys,
)
from homeserver.services.published_keys import (
    PublishedKeys,
    add_own_signatures,
    published_keys,
)
from homeserver.services.remote_devices import RemoteDevices, RemoteKeys
from homeserver.services.values import is_object, is_text, is_user_id
from homeserver.storage import accounts as account_storage
from homeserver.storage import device_lists as list_storage
from homeserver.storage import end_to_end_keys as storage
from homeserver.storage.database import Database
from homeserver.storage.end_to_end_keys import Key, Wanted
from homeserver.storage.shared_rooms import sharing_with_us

DEFAULT_TIMEOUT_SECONDS = 10.0
SHORTEST_TIMEOUT_SECONDS = 1.0  # less would leave no time for what is cached here
LONGEST_TIMEOUT_SECONDS = 30.0
MAX_ONE_TIME_KEYS = 2_000  # of one device
MAX_LISTS_FETCHED = 20  # of one instance, for one query; more are asked for in one request

# Clients have waited in vain for the count of what they are to upload: the spec's zero, unlisted.
ALWAYS_COUNTED = "signed_curve25519"

DeviceQuery = Mapping[str, list[str]]  # user ID -> device IDs; none: all
Claims = Mapping[str, Mapping[str, str]]  # user ID -> device ID -> algorithm
Claimed = dict[str, dict[str, dict[str, Any]]]  # user ID -> device ID -> name -> key


def no_devices(user_id: str) -> JsonObject:
    """The device list of a user of whom nothing is known."""
    return {"user_id": user_id, "stream_id": 0, "devices": []}


class KeyQueryResult(Struct):
    """What was found, and the instances that did not answer."""

    keys: PublishedKeys = field(default_factory=PublishedKeys)
    failures: dict[str, JsonObject] = field(default_factory=dict)


class ClaimResult(Struct):
    """The keys that were claimed, and the instances that did not answer."""

    one_time_keys: Claimed = field(default_factory=dict)
    failures: dict[str, JsonObject] = field(default_factory=dict)


class KeyCounts(Struct, frozen=True):
    """For a sync: the unclaimed one-time keys of a device, and its unused fallback keys."""

    one_time_keys: dict[str, int]
    unused_fallback_algorithms: list[str]


class EndToEndKeyService:
    """Keeps our devices' keys, and finds those of others."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        device_lists: DeviceListService,
        remote_devices: RemoteDevices,
        remote: RemoteKeys,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._device_lists = device_lists
        self._remote_devices = remote_devices
        self._remote = remote
        self.on_counts_changed: Callable[[str, str], None] = lambda user_id, device_id: None
        """Called with a local user's ID and a device's, when its keys were added or claimed."""

    # ------------------------------------------------------------ uploading

    async def upload(
        self,
        user_id: str,
        device_id: str,
        *,
        device_keys: JsonObject | None,
        one_time_keys: JsonObject,
        fallback_keys: JsonObject,
    ) -> dict[str, int]:
        """Publish a device's keys; how many one-time keys it has, by algorithm.

        Spec: ``POST /keys/upload``.  Raises :class:`InvalidParam`, also for a one-time key whose
        ID was used for another key, :class:`BadJson`, :class:`TooLarge`.
        """
        once, fallback = parse_keys(one_time_keys), parse_fallback_keys(fallback_keys)
        if device_keys is not None:
            check_device_keys(device_keys, user_id, device_id)
            keys = {name: value for name, value in device_keys.items() if name != "unsigned"}
            if keys != await self._stored_keys(user_id, device_id):
                await self._device_lists.keys_uploaded(user_id, device_id, keys)
        if once:
            await self._add_one_time_keys(user_id, device_id, once)
        if fallback:
            await storage.put_fallback_keys(self._database, user_id, device_id, fallback)
        self.on_counts_changed(user_id, device_id)
        return await storage.count_one_time_keys(self._database, user_id, device_id)

    async def _stored_keys(self, user_id: str, device_id: str) -> JsonObject | None:
        rows = await storage.get_device_keys(self._database, [user_id])
        return next((row.keys for row in rows if row.device_id == device_id), None)

    async def _add_one_time_keys(self, user_id: str, device_id: str, keys: list[Key]) -> None:
        async with self._database.transaction() as connection:
            # a client that lost the answer uploads again: what was claimed meanwhile is spent
            spent = await storage.get_claimed_keys(connection, user_id, device_id, keys)
            keys = [k for k in keys if k.name not in spent or spent[k.name].key != k.key]
            await storage.insert_one_time_keys(
                connection, user_id, device_id, keys, time.time_ns() // 1000
            )
            stored = await storage.get_one_time_keys(connection, user_id, device_id, keys)
            for key in keys:
                if key.name in stored and stored[key.name].key != key.key:
                    raise InvalidParam(f"There is another one-time key '{key.name}' already")
            counts = await storage.count_one_time_keys(connection, user_id, device_id)
            if sum(counts.values()) > MAX_ONE_TIME_KEYS:
                raise TooLarge(f"A device may have at most {MAX_ONE_TIME_KEYS} one-time keys")

    async def counts(self, user_id: str, device_id: str) -> KeyCounts:
        """What a sync tells a device of its keys.  Spec: extensions to /sync."""
        counts = await storage.count_one_time_keys(self._database, user_id, device_id)
        return KeyCounts(
            {ALWAYS_COUNTED: 0, **counts},
            await storage.get_unused_fallback_algorithms(self._database, user_id, device_id),
        )

    # ------------------------------------------------------------ querying

    async def query(
        self, viewer: str, wanted: DeviceQuery, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> KeyQueryResult:
        """The keys of local and remote users, as the viewer may see them.

        A user who is known and has no devices with keys is there, with none; who is unknown is
        not.  Spec: ``POST /keys/query``.
        """
        timeout = min(max(timeout_seconds, SHORTEST_TIMEOUT_SECONDS), LONGEST_TIMEOUT_SECONDS)
        result = KeyQueryResult()
        by_server = _by_server(wanted)
        local = by_server.pop(self._server_name, {})
        result.keys = select(await published_keys(self._database, list(local), viewer), local)
        if without := local.keys() - result.keys.device_keys.keys():
            existing = await account_storage.get_existing(self._database, without)
            result.keys.device_keys.update((user_id, {}) for user_id in existing)
        await asyncio.gather(
            *(
                self._query_server(server_name, users, viewer, timeout, result)
                for server_name, users in by_server.items()
            )
        )
        for devices in result.keys.device_keys.values():
            for keys in devices.values():  # spec: "with the addition of an unsigned property"
                keys.setdefault("unsigned", {})
        return result

    async def query_local(self, wanted: DeviceQuery) -> PublishedKeys:
        """The keys of our users, as another instance may see them.

        Spec: server-server API, ``POST /user/keys/query``.
        """
        local = {user: ids for user, ids in wanted.items() if self._is_ours(user)}
        return select(await published_keys(self._database, list(local), None), local)

    async def user_devices(self, user_id: str) -> JsonObject:
        """A local user's device list.  Spec: server-server API, ``GET /user/devices/{userId}``.

        Raises :class:`NotFound`.
        """
        if not self._is_ours(user_id):
            raise NotFound("This user is not of this server")
        async with self._database.transaction() as connection:
            stream_id = await list_storage.get_stream_id(connection, user_id)
            published = await published_keys(connection, [user_id], None)
        devices = []
        for device_id, keys in published.device_keys[user_id].items():
            device: JsonObject = {"device_id": device_id, "keys": keys}
            name = keys.get("unsigned", {}).get("device_display_name")
            if name:
                device["device_display_name"] = name
            devices.append(device)
        answer: JsonObject = {"user_id": user_id, "stream_id": stream_id, "devices": devices}
        if user_id in published.master_keys:
            answer["master_key"] = published.master_keys[user_id]
        if user_id in published.self_signing_keys:
            answer["self_signing_key"] = published.self_signing_keys[user_id]
        return answer

    async def _query_server(
        self,
        server_name: str,
        wanted: DeviceQuery,
        viewer: str,
        timeout: float,
        result: KeyQueryResult,
    ) -> None:
        try:
            async with asyncio.timeout(timeout):
                cached = await self._bring_in(list(wanted))
                known = {user: ids for user, ids in wanted.items() if user in cached}
                stored = await published_keys(self._database, list(known), viewer)
                result.keys.device_keys.update((user_id, {}) for user_id in known)
                result.keys.update(select(stored, known))
                rest = {user: list(ids) for user, ids in wanted.items() if user not in cached}
                if rest:
                    answer = await self._remote.query_keys(server_name, rest, timeout)
                    found = parse_query_answer(answer, rest)
                    await add_own_signatures(self._database, found, viewer)
                    result.keys.update(found)
        except (MatrixError, TimeoutError) as error:
            result.failures[server_name] = failure(error)

    async def _bring_in(self, user_ids: list[str]) -> set[str]:
        """Those users whose lists are cached; lists worth keeping are fetched first."""
        shared = await sharing_with_us(self._database, user_ids)
        tracked = await list_storage.get_tracked(self._database, shared)
        fresh = {user_id for user_id, entry in tracked.items() if not entry.stale}
        missing = sorted(shared - fresh)
        if len(missing) > MAX_LISTS_FETCHED:
            return fresh
        outcomes = await asyncio.gather(
            *(self._remote_devices.fetch(user_id) for user_id in missing), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, MatrixError):
                raise outcome
        done = zip(missing, outcomes, strict=True)
        return fresh | {user for user, outcome in done if outcome is None}

    # ------------------------------------------------------------ claiming

    async def claim(
        self, claims: Claims, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> ClaimResult:
        """Take one key of each device, local and remote.  Spec: ``POST /keys/claim``."""
        timeout = min(max(timeout_seconds, SHORTEST_TIMEOUT_SECONDS), LONGEST_TIMEOUT_SECONDS)
        result = ClaimResult()
        by_server: dict[str, dict[str, Mapping[str, str]]] = {}
        for user_id, by_device in claims.items():
            by_server.setdefault(server_name_of(user_id), {})[user_id] = by_device
        local = by_server.pop(self._server_name, {})
        result.one_time_keys = await self.claim_local(local)
        await asyncio.gather(
            *(
                self._claim_from(server_name, theirs, timeout, result)
                for server_name, theirs in by_server.items()
            )
        )
        return result

    async def claim_local(self, claims: Claims, *, fallback_for: Set[str] = frozenset()) -> Claimed:
        """Take one key of each of our devices; a fallback key where no other is left.

        ``fallback_for``: of these users nothing else is given.

        Spec: server-server API, ``POST /user/keys/claim``.
        """
        wanted = [
            Wanted(user_id, device_id, algorithm)
            for user_id, by_device in claims.items()
            for device_id, algorithm in by_device.items()
            if self._is_ours(user_id) and is_text(device_id) and is_text(algorithm)
        ]
        if not wanted:
            return {}
        found = await storage.claim_one_time_keys(
            self._database, [want for want in wanted if want.user_id not in fallback_for]
        )
        without = [want for want in wanted if want not in found]
        if without:
            found |= await storage.claim_fallback_keys(self._database, without)
        claimed: Claimed = {}
        for want, key in found.items():
            claimed.setdefault(want.user_id, {})[want.device_id] = {key.name: key.key}
            self.on_counts_changed(want.user_id, want.device_id)
        return claimed

    async def _claim_from(
        self, server_name: str, claims: Claims, timeout: float, result: ClaimResult
    ) -> None:
        body = {user_id: dict(by_device) for user_id, by_device in claims.items()}
        try:
            async with asyncio.timeout(timeout):
                answer = await self._remote.claim_keys(server_name, body, timeout)
        except (MatrixError, TimeoutError) as error:
            result.failures[server_name] = failure(error)
            return
        result.one_time_keys.update(parse_claim_answer(answer, claims))

    def _is_ours(self, user_id: str) -> bool:
        return is_user_id(user_id) and server_name_of(user_id) == self._server_name


def _by_server(wanted: DeviceQuery) -> dict[str, dict[str, list[str]]]:
    by_server: dict[str, dict[str, list[str]]] = {}
    for user_id, device_ids in wanted.items():
        by_server.setdefault(server_name_of(user_id), {})[user_id] = device_ids
    return by_server


def select(keys: PublishedKeys, wanted: DeviceQuery) -> PublishedKeys:
    """Leave only the devices that were asked for; users without any are left out."""
    for user_id, device_ids in wanted.items():
        devices = keys.device_keys.get(user_id, {})
        if device_ids:
            devices = {name: value for name, value in devices.items() if name in device_ids}
        if devices:
            keys.device_keys[user_id] = devices
        else:
            keys.device_keys.pop(user_id, None)
    return keys


def failure(error: Exception) -> JsonObject:
    """What ``failures`` says of an instance."""
    text = error.text if isinstance(error, MatrixError) else "The server did not answer in time"
    return {"status": 503, "message": text}


def parse_query_answer(answer: JsonObject, wanted: DeviceQuery) -> PublishedKeys:
    """What of another instance's answer is well-formed and was asked for."""
    keys = PublishedKeys()
    for user_id, device_ids in wanted.items():
        found = {
            device_id: device
            for device_id, device in _objects(_objects(answer, "device_keys"), user_id).items()
            if is_device_keys(device, user_id, device_id)
            and (not device_ids or device_id in device_ids)
        }
        if found or is_object(_objects(answer, "device_keys").get(user_id)):
            keys.device_keys[user_id] = found
        master = _objects(answer, "master_keys").get(user_id)
        if is_cross_signing_key(master, user_id, "master"):
            keys.master_keys[user_id] = master
        self_signing = _objects(answer, "self_signing_keys").get(user_id)
        if is_cross_signing_key(self_signing, user_id, "self_signing"):
            keys.self_signing_keys[user_id] = self_signing
    return keys


def parse_claim_answer(answer: JsonObject, claims: Claims) -> Claimed:
    """What of another instance's answer is well-formed and was asked for."""
    claimed: Claimed = {}
    answered = _objects(answer, "one_time_keys")
    for user_id, by_device in claims.items():
        devices = _objects(answered, user_id)
        for device_id in by_device:
            keys = devices.get(device_id)
            if is_object(keys) and _are_strings_or_objects(keys.values()):
                claimed.setdefault(user_id, {})[device_id] = keys
    return claimed


def _objects(answer: JsonObject, key: str) -> JsonObject:
    value = answer.get(key)
    return value if is_object(value) else {}


def _are_strings_or_objects(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str | dict) for value in values)
