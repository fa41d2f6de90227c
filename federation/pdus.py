"""PDUs of other instances, from JSON to trusted events.

Spec: server-server API, checks performed on receipt of a PDU, steps 1 to 3: format, signatures,
hashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from federation.errors import FederationFailure
from federation.keyring import Keyring
from federation.verifying import Check
from homeserver.protocol.auth_rules import Rejected, check_auth, check_auth_events
from homeserver.protocol.events import (
    BadEvent,
    Event,
    StateKey,
    check_hashes,
    parse_event,
    redacted_copy,
)
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import BadSignature, required_signers

logger = structlog.get_logger(__name__)

VERIFY_AT_ONCE = 200


class NotSigned(BadEvent):
    """An event does not bear a signature that it must bear."""


class PduChecker:
    """Parses PDUs and verifies who signed them."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def check(
        self, pdu: Any, version: RoomVersion, *, limit_references: bool = True
    ) -> Event:
        """One PDU as an event; redacted if its content hash does not match.

        ``limit_references``: as :func:`parse_event` has it.  Raises: :class:`BadEvent` for a bad
        format, :class:`NotSigned` for a bad signature; :class:`FederationFailure` if a key cannot
        be had.
        """
        event = parse_event(pdu, version, limit_references=limit_references)
        await self._verify(event)
        return _as_hashed(event)

    async def check_many(
        self, pdus: Iterable[Any], version: RoomVersion, *, limit_references: bool = True
    ) -> list[Event]:
        """Those of many PDUs that pass; the others are dropped with a line in the log."""
        events: list[Event] = []
        batch: list[Any] = []
        for pdu in pdus:
            batch.append(pdu)
            if len(batch) == VERIFY_AT_ONCE:
                events.extend(await self._check_batch(batch, version, limit_references))
                batch = []
        events.extend(await self._check_batch(batch, version, limit_references))
        return events

    async def _check_batch(
        self, pdus: Sequence[Any], version: RoomVersion, limit_references: bool
    ) -> list[Event]:
        """Prepare all, then verify them together: see :mod:`federation.verifying`."""
        parsed = [_parsed(pdu, version, limit_references) for pdu in pdus]
        events = [event for event in parsed if event is not None]
        signers = {server_name for event in events for server_name in _signers(event)}
        await asyncio.gather(*map(self._keyring.load, signers))
        plans = [self._checks_at_hand(event) for event in events]
        checks = [check for plan in plans for check in plan or ()]
        results = await self._keyring.verify_many(checks)
        forged = {check for check, good in zip(checks, results, strict=True) if not good}
        failures = await self._failures(
            [event for event, plan in zip(events, plans, strict=True) if plan is None]
        )
        passed = []
        for event, plan in zip(events, plans, strict=True):
            failure = failures.get(id(event)) if plan is None else None
            if forged and plan is not None and not forged.isdisjoint(plan):
                failure = NotSigned(f"a signature of {event.event_id} does not match")
            if failure is None:
                passed.append(_as_hashed(event))
            else:
                logger.info("pdu dropped", reason=str(failure))
        return passed

    async def _failures(self, events: Sequence[Event]) -> dict[int, Exception]:
        """Verify events each by itself, asking for keys; why some failed, by ``id()``.

        Not by event ID: that does not cover the signatures.
        """
        results = await asyncio.gather(*map(self._verify, events), return_exceptions=True)
        failures: dict[int, Exception] = {}
        for event, result in zip(events, results, strict=True):
            if isinstance(result, BadEvent | FederationFailure):
                failures[id(event)] = result
            elif result is not None:
                raise result
        return failures

    def _checks_at_hand(self, event: Event) -> list[Check] | None:
        """What is to be verified, if the keys of all who must have signed are in memory."""
        signed = redact(event.pdu, event.room_version)
        at = event.origin_server_ts if event.room_version.enforce_key_validity else None
        checks: list[Check] = []
        for server_name in _signers(event):
            try:
                found = self._keyring.checks_at_hand(server_name, signed, at)
            except BadSignature:
                return None  # the whole check finds it too, and says so
            if found is None:
                return None
            checks.extend(found)
        return checks

    async def _verify(self, event: Event) -> None:
        """Check the signatures of all servers that must have signed.  Raises :class:`NotSigned`."""
        signed = redact(event.pdu, event.room_version)
        for server_name in _signers(event):
            try:
                await self._keyring.verify_json_signed_by(
                    server_name,
                    signed,
                    event.origin_server_ts,
                    enforce_validity=event.room_version.enforce_key_validity,
                )
            except BadSignature as error:
                raise NotSigned(f"not validly signed by {server_name}: {error}") from error


def _parsed(pdu: Any, version: RoomVersion, limit_references: bool) -> Event | None:
    try:
        return parse_event(pdu, version, limit_references=limit_references)
    except BadEvent as error:
        logger.info("pdu dropped", reason=str(error))
        return None


def _signers(event: Event) -> set[str]:
    return required_signers(event.pdu, event.room_version)


def _as_hashed(event: Event) -> Event:
    """The event, redacted if its content hash does not match."""
    return event if check_hashes(event) else redacted_copy(event)


def authorise_chain(
    events: Mapping[str, Event],
    create: Event | None,
    *,
    trusted: Mapping[str, Event] | None = None,
) -> tuple[dict[str, Event], dict[str, str]]:
    """Authorise events that arrive with their auth chain, each by its own auth events.

    ``trusted``: events that were accepted before and that these may cite.
    Returns the accepted events by ID (the trusted included), and the reason for each refused one.
    """
    accepted: dict[str, Event] = dict(trusted or {})
    refused: dict[str, str] = {}
    for event in in_auth_order(events):
        known = [accepted.get(event_id) for event_id in event.auth_event_ids]
        if None in known:
            refused[event.event_id] = "an auth event is missing or was rejected"
            continue
        auth_events = [auth_event for auth_event in known if auth_event is not None]
        verdict = check_auth_events(event, auth_events, refused.keys())
        if not isinstance(verdict, Rejected):
            state: dict[StateKey, Event] = {e.key: e for e in auth_events}
            if create is not None and create is not event:
                state.setdefault(("m.room.create", ""), create)
            verdict = check_auth(event, state)
        if isinstance(verdict, Rejected):
            refused[event.event_id] = verdict.reason
        else:
            accepted[event.event_id] = event
    return accepted, refused


def in_auth_order(events: Mapping[str, Event]) -> list[Event]:
    """Events sorted so that each comes after the auth events that it cites."""
    ordered: list[Event] = []
    state: dict[str, int] = {}  # 1: on the stack, 2: placed
    for root in events:
        stack = [(root, False)]
        while stack:
            event_id, expanded = stack.pop()
            if expanded:
                state[event_id] = 2
                ordered.append(events[event_id])
                continue
            if event_id not in events or event_id in state:
                continue
            state[event_id] = 1
            stack.append((event_id, True))
            stack.extend((cited, False) for cited in events[event_id].auth_event_ids)
    return ordered
