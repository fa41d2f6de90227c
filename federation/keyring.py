"""Other instances' keys, and whether something bears their signature.

Keys come from memory, the database, the instance itself, a notary, in that order.  One question
per instance is under way at a time, and one that failed is not repeated at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from federation.caching import ExpiringCache
from federation.errors import FederationFailure, Permanent
from federation.key_fetching import KeyFetcher, parse_key_response
from federation.own_keys import OwnKeys
from federation.verifying import Check, Verifier
from homeserver.protocol.canonical import NotCanonical
from homeserver.protocol.events import JsonObject
from homeserver.protocol.signing import (
    BadSignature,
    VerifyKey,
    signable_json,
    signature_of,
    signing_key_ids,
    verify_json,
)
from homeserver.services.shared_tasks import SharedTasks
from homeserver.storage import server_keys as storage
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey

logger = structlog.get_logger(__name__)

SERVERS_IN_MEMORY = 20_000
IN_MEMORY_SECONDS = 3600.0
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
FAILURES_REMEMBERED_SECONDS = 600.0
MAX_SIGNATURES = 10  # of one server on one object that are tried

Keys = dict[str, ServerKey]


class KeyUnavailable(FederationFailure):
    """A server's key could not be had, so its signature cannot be checked now."""


class Keyring:
    """Finds keys and verifies JSON with them."""

    def __init__(
        self,
        *,
        database: Database,
        own_keys: OwnKeys,
        fetcher: KeyFetcher,
        notaries: Sequence[str],
        clock_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._own_keys = own_keys
        self._fetcher = fetcher
        self._notaries = notaries
        self._clock_ms = clock_ms
        self._clock = clock
        self._verifier = Verifier()
        self._known: ExpiringCache[str, Keys] = ExpiringCache(SERVERS_IN_MEMORY, clock)
        self._changes = 0  # how often keys have been written
        # (server, key) -> when it may be asked for again, and how often that has failed
        self._failures: ExpiringCache[tuple[str, str], tuple[float, int]] = ExpiringCache(
            SERVERS_IN_MEMORY, clock
        )
        self._lookups: SharedTasks[tuple[str, str], Keys] = SharedTasks("server keys lookup")
        self._fetches: SharedTasks[str, None] = SharedTasks("server keys")
        self._fetched: ExpiringCache[str, bool] = ExpiringCache(SERVERS_IN_MEMORY, clock)

    def close(self) -> None:
        """Let the verifying threads go."""
        self._verifier.close()

    # ------------------------------------------------------------ verifying

    async def verify_json_signed_by(
        self,
        server_name: str,
        value: JsonObject,
        at_ts: int | None,
        *,
        enforce_validity: bool = True,
    ) -> None:
        """Check that a server signed an object with a key that was valid at ``at_ts`` (ms).

        All its signatures with keys that are known must be good; only where there is none is an
        unknown key asked for.
        Raises: :class:`BadSignature`; :class:`KeyUnavailable` where the key cannot be had.
        Spec: appendices, checking for a signature; server-server API, validating hashes and
        signatures on received events; room version 5, signing key validity.
        """
        key_ids = _signatures_of(value, server_name)
        await self.load(server_name)
        at = at_ts if enforce_validity else None
        checks = self._checks(server_name, key_ids, value, at)
        for check in checks or ():
            await self._verifier.verify(check)
        if checks is not None:
            return
        message = _signed_part(value)
        failure: Exception | None = None
        for key_id in key_ids:
            try:
                signature = signature_of(value, server_name, key_id)
                key = await self.verify_keys_for(server_name, key_id, at)
                await self._verifier.verify(Check(key, message, signature))
            except (BadSignature, KeyUnavailable) as error:
                failure = error
            else:
                return
        if failure is not None:
            raise failure

    def checks_at_hand(
        self, server_name: str, value: JsonObject, at_ts: int | None
    ) -> list[Check] | None:
        """What is to be verified of a server's signatures on an object, all of it.

        None if no key is in memory that made one of them and was valid at ``at_ts`` (for None,
        whenever): then :meth:`verify_json_signed_by` has to look further.
        Raises :class:`BadSignature` if there is no signature.
        """
        return self._checks(server_name, _signatures_of(value, server_name), value, at_ts)

    def _checks(
        self, server_name: str, key_ids: Sequence[str], value: JsonObject, at_ts: int | None
    ) -> list[Check] | None:
        keys = [(key_id, self._at_hand(server_name, key_id, at_ts)) for key_id in key_ids]
        known = [(key_id, key) for key_id, key in keys if key is not None]
        if not known:
            return None
        message = _signed_part(value)
        return [
            Check(key, message, signature_of(value, server_name, key_id)) for key_id, key in known
        ]

    def _at_hand(self, server_name: str, key_id: str, at_ts: int | None) -> VerifyKey | None:
        if server_name == self._own_keys.server_name:
            return self._own_keys.find(key_id, at_ts)
        key = (self._known.get(server_name) or {}).get(key_id)
        return VerifyKey(key.verify_key) if key is not None and is_valid(key, at_ts) else None

    async def verify_many(self, checks: Sequence[Check]) -> list[bool]:
        """Whether each of many signatures is good."""
        return await self._verifier.verify_many(checks)

    async def verify_signature(
        self, server_name: str, key_id: str, message: bytes, signature: bytes, at_ts: int
    ) -> None:
        """Check the signature of bytes.  Raises as :meth:`verify_json_signed_by`."""
        key = await self.verify_keys_for(server_name, key_id, at_ts)
        await self._verifier.verify(Check(key, message, signature))

    # ------------------------------------------------------------ finding

    async def has_key(self, server_name: str, key_id: str, at_ts: int | None) -> bool:
        """Whether a server's key that was valid at ``at_ts`` is here, so need not be asked for.

        For None, whether it was valid does not matter.
        """
        if server_name == self._own_keys.server_name:
            return self._own_keys.find(key_id, at_ts) is not None
        return is_valid((await self._stored(server_name)).get(key_id), at_ts)

    async def verify_keys_for(self, server_name: str, key_id: str, at_ts: int | None) -> VerifyKey:
        """A server's key that was valid at ``at_ts``; for None, whether it was does not matter.

        Raises: :class:`BadSignature` if there is no such key, or it was not valid then;
        :class:`KeyUnavailable`.
        """
        if server_name == self._own_keys.server_name:
            own = self._own_keys.find(key_id, at_ts)
            if own is None:
                raise BadSignature(f"{key_id} was not a key of this server then")
            return own
        keys = await self._stored(server_name)
        if not is_valid(keys.get(key_id), at_ts):
            keys = await self._refresh(server_name, key_id, at_ts)
        key = keys.get(key_id)
        if key is None:
            raise BadSignature(f"{server_name} has published no key {key_id}")
        if not is_valid(key, at_ts):
            raise BadSignature(f"the key {key_id} of {server_name} was not valid at that time")
        return VerifyKey(key.verify_key)

    async def load(self, server_name: str) -> None:
        """Have in memory what is known of a server's keys."""
        if server_name != self._own_keys.server_name:
            await self._stored(server_name)

    async def _stored(self, server_name: str) -> Keys:
        known = self._known.get(server_name)
        while known is None:
            changes = self._changes
            found = await storage.get_keys(self._database, server_name)
            if changes == self._changes:  # else what was read may be out of date by now
                known = {key.key_id: key for key in found}
                self._known.put(server_name, known, IN_MEMORY_SECONDS)
        return known

    async def _keep(
        self, server_name: str, keys: list[ServerKey], response: JsonObject, *, direct: bool
    ) -> None:
        await storage.save_keys(self._database, keys, response, direct=direct)
        self._changes += 1
        self._known.drop(server_name)

    async def _refresh(self, server_name: str, key_id: str, at_ts: int | None) -> Keys:
        """Ask anew, unless that was done just now."""
        retry_at, _ = self._failures.get((server_name, key_id)) or (0.0, 0)
        if self._clock() < retry_at:
            keys = await self._stored(server_name)
            if key_id in keys:
                return keys
            raise KeyUnavailable(server_name, f"its key {key_id} was not to be had just now")
        return await self._lookups.run(
            (server_name, key_id), lambda: self._look_up(server_name, key_id, at_ts)
        )

    async def _look_up(self, server_name: str, key_id: str, at_ts: int | None) -> Keys:
        needed_until = at_ts if at_ts is not None else self._clock_ms()
        failure: FederationFailure | None = None
        try:
            await self.fetch(server_name)
        except FederationFailure as error:
            failure = error
        if not is_valid((await self._stored(server_name)).get(key_id), at_ts):
            await self._ask_notaries(server_name, key_id, needed_until, at_ts)
        keys = await self._stored(server_name)
        if not is_valid(keys.get(key_id), at_ts):
            self._count_failure(server_name, key_id)
            if failure is not None:
                raise KeyUnavailable(
                    server_name, f"its keys cannot be had: {failure.reason}"
                ) from failure
        return keys

    async def fetch(self, server_name: str) -> None:
        """Fetch a server's keys from itself and keep them.  Raises :class:`FederationFailure`.

        However many of its keys are asked for, the server is asked once in a while only.
        """
        if not self._fetched.get(server_name):
            await self._fetches.run(server_name, lambda: self._fetch(server_name))

    async def _fetch(self, server_name: str) -> None:
        self._fetched.put(server_name, True, FIRST_PAUSE_SECONDS)
        keys, response = await self._fetcher.fetch(server_name)
        await self._keep(server_name, keys, response, direct=True)

    async def _ask_notaries(
        self, server_name: str, key_id: str, needed_until: int, at_ts: int | None
    ) -> None:
        for notary in self._notaries:
            if notary in (server_name, self._own_keys.server_name):
                continue
            try:
                responses = await self._fetcher.fetch_through(
                    notary, server_name, key_id, needed_until
                )
                await self._keep_notarised(notary, server_name, responses)
            except (FederationFailure, BadSignature) as error:
                logger.info("notary did not help", notary=notary, reason=str(error))
            if is_valid((await self._stored(server_name)).get(key_id), at_ts):
                return

    async def _keep_notarised(
        self, notary: str, server_name: str, responses: Iterable[JsonObject]
    ) -> None:
        """Keep answers that bear both the notary's and the server's own signature."""
        now = self._clock_ms()
        for response in responses:
            await self._check_notary(notary, response, now)
            keys = parse_key_response(server_name, response, now)
            await self._keep(server_name, keys, response, direct=False)

    async def _check_notary(self, notary: str, response: JsonObject, now: int) -> None:
        """The notary's own keys come from itself alone: notaries do not vouch for each other."""
        for key_id in signing_key_ids(response, notary)[:MAX_SIGNATURES]:
            if not is_valid((await self._stored(notary)).get(key_id), now):
                await self.fetch(notary)
            key = (await self._stored(notary)).get(key_id)
            if key is not None and is_valid(key, now):
                verify_json(response, notary, key_id, VerifyKey(key.verify_key))
                return
        raise Permanent(notary, "the notary did not sign the keys")

    def _count_failure(self, server_name: str, key_id: str) -> None:
        _, failures = self._failures.get((server_name, key_id)) or (0.0, 0)
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS)
        self._failures.put(
            (server_name, key_id),
            (self._clock() + pause, failures + 1),
            FAILURES_REMEMBERED_SECONDS,
        )


def _signatures_of(value: JsonObject, server_name: str) -> list[str]:
    """The keys with which a server signed an object, at least one.  Raises BadSignature."""
    key_ids = signing_key_ids(value, server_name)[:MAX_SIGNATURES]
    if not key_ids:
        raise BadSignature(f"there is no signature of {server_name}")
    return key_ids


def _signed_part(value: JsonObject) -> bytes:
    try:
        return signable_json(value)
    except NotCanonical as error:
        raise BadSignature("what was signed is not JSON") from error


def is_valid(key: ServerKey | None, at_ts: int | None) -> bool:
    """Whether a key is known and was in use at that time; for None, whenever."""
    if key is None:
        return False
    return at_ts is None or at_ts <= (
        key.valid_until_ts if key.expired_ts is None else key.expired_ts
    )
