"""What becomes of an event or file when a rule has decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from homeserver.errors import MatrixError, PolicyRefused
from homeserver.services.judgement import ACCEPTED, POLICY, Action, Judgement
from homeserver.services.policy.ports import Ports, ServerBlocks
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import Subject

logger = structlog.get_logger(__name__)

THROTTLE_SECONDS = 600  # where a rule says nothing
RETRY_SECONDS = 60


def accepted(subject: Subject) -> Judgement:
    """Accepted, with the rules that flagged it."""
    return Judgement(Action.ACCEPT, flags=tuple(subject.flags)) if subject.flags else ACCEPTED


class Outcomes:
    """Turns a rule's action into a judgement, and does what it asks for besides."""

    def __init__(self, ports: Ports, clock_ms: Callable[[], int]) -> None:
        self._ports = ports
        self._clock_ms = clock_ms
        self._blocking: dict[str, asyncio.Task[None]] = {}

    def for_sender(self, rule: Rule, subject: Subject) -> Judgement:
        """What a local sender gets.

        Raises :class:`PolicyRefused` or ``M_LIMIT_EXCEEDED`` with the rule's message.
        """
        if rule.action == "allow":
            return accepted(subject)
        if rule.action in ("reject", "block_server"):
            raise PolicyRefused(rule.message)
        if rule.action == "throttle":
            seconds = rule.duration_seconds or subject.retry_after_seconds or RETRY_SECONDS
            raise MatrixError(
                rule.message,
                errcode="M_LIMIT_EXCEEDED",
                status=429,
                retry_after_ms=max(1, int(seconds * 1000)),
            )
        return _kept(rule, subject, rule.name)

    def for_arrival(self, rule: Rule, subject: Subject, *, past: bool = False) -> Judgement:
        """What becomes of another instance's event.  ``past``: its server is left alone.

        A refusal by policy is ours alone: other instances keep the event, so it must not count as
        rejected by the auth rules, or later events that cite it would be invalid here.
        """
        if rule.action == "allow":
            return accepted(subject)
        if not past:
            self._act_on_origin(rule, subject)
        return _kept(rule, subject, POLICY + rule.name)

    def checked_send(self, found: Judgement | None, subject: Subject) -> Judgement:
        """What a local sender gets once external checks have been asked.

        Raises :class:`PolicyRefused` if one rejects it.
        """
        if found is None:
            return accepted(subject)
        if found.action is Action.REJECT:
            raise PolicyRefused(found.reason)
        return _found(found, subject)

    def checked_arrival(self, found: Judgement | None, subject: Subject) -> Judgement:
        """What becomes of another instance's event once external checks have been asked."""
        if found is None:
            return accepted(subject)
        return _found(replace(found, rule=POLICY + found.rule), subject)

    def for_file(self, rule: Rule, subject: Subject) -> Judgement:
        """What becomes of a file."""
        if subject.direction == "in":
            self._act_on_origin(rule, subject)
        if rule.action == "allow":
            return accepted(subject)
        if rule.action in ("reject", "throttle", "block_server"):
            return Judgement(Action.REJECT, POLICY + rule.name, rule.message)
        return _kept(rule, subject, POLICY + rule.name)

    def _act_on_origin(self, rule: Rule, subject: Subject) -> None:
        ports, seconds = self._ports, rule.duration_seconds
        if rule.action == "throttle" and ports.throttle is not None:
            ports.throttle.slow_down(subject.origin, seconds or THROTTLE_SECONDS)
        blocks, origin = ports.blocks, subject.origin
        if rule.action == "block_server" and blocks is not None and origin not in self._blocking:
            # Not awaited: the room is locked, and blocking may have to wait for it.
            self._blocking[origin] = asyncio.create_task(
                self._block(blocks, rule, origin), name="block server"
            )

    async def _block(self, blocks: ServerBlocks, rule: Rule, server: str) -> None:
        seconds = rule.duration_seconds
        try:
            await blocks.block(
                server,
                reason=rule.message,
                source=POLICY + rule.name,
                expires_at=self._clock_ms() + seconds * 1000 if seconds else None,
            )
        except MatrixError as error:
            logger.warning("not blocked", server=server, rule=rule.name, reason=error.text)
        except Exception:
            logger.exception("not blocked", server=server, rule=rule.name)
        finally:
            del self._blocking[server]

    async def close(self) -> None:
        """Wait for blocks that are being made."""
        if self._blocking:
            await asyncio.wait(self._blocking.values())


def _found(found: Judgement, subject: Subject) -> Judgement:
    """A check's verdict on an event; as with rules, state is neither held nor stripped."""
    if found.action is Action.REJECT or (
        subject.is_state and (found.action is Action.HOLD or found.strip_media)
    ):
        return Judgement(Action.SOFT_FAIL, found.rule, found.reason)
    return replace(found, flags=(*subject.flags, *found.flags))


def _kept(rule: Rule, subject: Subject, called: str) -> Judgement:
    """Hold, strip or soft-fail.  State cannot wait or lose parts, so it is soft-failed."""
    if not subject.is_state:
        if rule.action == "hold":
            return Judgement(Action.HOLD, called, rule.message, flags=tuple(subject.flags))
        if rule.action == "strip":
            return Judgement(
                Action.ACCEPT, called, rule.message, strip_media=True, flags=tuple(subject.flags)
            )
    return Judgement(Action.SOFT_FAIL, called, rule.message)
