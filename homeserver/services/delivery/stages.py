"""How far one message has come to one member: pure, from positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from msgspec import Struct, field

from homeserver.protocol.identifiers import server_name_of
from homeserver.storage.delivery import MemberProgress, Read

PENDING, SENT, INSTANCE, DEVICE, READ = range(5)

Cause = Literal["consent", "policy", "queued", "unreachable", "refused"]
QUEUED_AFTER_MS = 10_000
EVERYWHERE = ("", "main")


class Instances(Protocol):
    """What is known of other instances' being up."""

    def failing_since(self, server_name: str) -> int | None:
        """Since when an instance has not answered (ms); None if it does."""

    def may_send_to(self, server_name: str) -> bool:
        """Whether anything may be sent there at all."""

    def try_now(self, server_name: str) -> None:
        """Do not wait any longer until an instance that did not answer is tried again."""


class Sendout(Struct, frozen=True):
    """A message of one of our users, and where it has arrived."""

    event_id: str
    room_id: str
    sender: str
    position: int
    order: int  # its place in the timeline
    sent_at: int  # ms
    thread_id: str | None = None  # the thread's root, if it is in one
    is_held: bool = False
    acked: Mapping[str, int] = field(default_factory=dict)  # instance -> its position
    refusals: Mapping[str, str] = field(default_factory=dict)  # instance -> why

    def has(self, server_name: str) -> bool:
        """Whether an instance has it."""
        return server_name not in self.refusals and self.acked.get(server_name, 0) >= self.position

    @property
    def missing(self) -> list[str]:
        """The instances for which it is, and which have it not."""
        return [server for server in self.acked if not self.has(server)]


class Stage(Struct, frozen=True):
    """How far a message has come, since when (ms, if known), and what stands in its way."""

    level: int
    at: int | None = None
    cause: Cause | None = None
    instance: str | None = None
    since: int | None = None
    detail: str | None = None


def on_the_way(sendout: Sendout, server_name: str, instances: Instances, now: int) -> Stage:
    """How far a message has come to another instance."""
    refusal = sendout.refusals.get(server_name)
    if refusal is not None:
        return Stage(PENDING, cause="refused", instance=server_name, detail=refusal)
    if sendout.has(server_name):
        return Stage(INSTANCE)
    if server_name not in sendout.acked:
        return Stage(SENT)  # it came into the room later, and fetches what was before if it wants
    if not instances.may_send_to(server_name):
        return Stage(PENDING, cause="policy", instance=server_name)
    since = instances.failing_since(server_name)
    if since is not None:
        return Stage(PENDING, cause="unreachable", instance=server_name, since=since)
    if now - sendout.sent_at > QUEUED_AFTER_MS:
        return Stage(PENDING, cause="queued", instance=server_name)
    return Stage(SENT)


def stage_of(
    sendout: Sendout,
    member: MemberProgress,
    reads: Iterable[Read],
    *,
    shows: bool,
    instances: Instances,
    now: int,
) -> Stage:
    """How far a message has come to a member.

    ``reads``: that member's, in the message's room.  ``shows``: whether the member lets the sender
    see what they have got and read.
    """
    if sendout.is_held:
        return Stage(PENDING, cause="policy")
    if member.membership != "join":
        return Stage(PENDING, cause="consent")
    server_name = server_name_of(member.user_id)
    if server_name in sendout.refusals:  # what they read since is no news of this message
        return on_the_way(sendout, server_name, instances, now)
    if shows:
        threads = (*EVERYWHERE, sendout.thread_id) if sendout.thread_id else EVERYWHERE
        read_at = [
            read.ts
            for read in reads
            if read.event_order >= sendout.order and _covers(read, sendout, threads)
        ]
        if read_at:
            return Stage(READ, min(read_at))
        if member.local and member.device_position >= sendout.position:
            return Stage(DEVICE)
        if member.remote_order is not None and member.remote_order >= sendout.order:
            return Stage(DEVICE)
    if member.local:
        return Stage(INSTANCE)
    return on_the_way(sendout, server_name, instances, now)


def _covers(read: Read, sendout: Sendout, threads: Iterable[str]) -> bool:
    """Whether a receipt is about the part of the room in which a message stands.

    Spec: threaded read receipts: one for ``main`` is not about threads.
    """
    if sendout.thread_id is not None and read.thread_id == "main":
        return False
    return read.thread_id in threads
