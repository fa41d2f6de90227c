"""How far a message has come, to whom."""

from __future__ import annotations

from typing import Literal

from homeserver.services.conversations.shapes.base import Shape, Sparse

State = Literal["pending", "sent", "delivered_to_instance", "delivered_to_device", "read"]
STATES: tuple[State, ...] = (
    "pending",
    "sent",
    "delivered_to_instance",
    "delivered_to_device",
    "read",
)
Cause = Literal["consent", "policy", "queued", "unreachable", "refused"]


class Reason(Sparse, frozen=True, kw_only=True):
    """Why a message is not with a recipient yet.

    ``consent``: they were asked whether they want to hear from the sender; ``policy``: a moderator
    looks at it first, or nothing may be sent to that instance; ``queued``: much goes to their
    instance, or it is slow; ``unreachable``: it has not answered ``since``; ``refused``: it did not
    take the message, and says why in ``detail``.
    """

    code: Cause
    instance: str | None = None
    since: str | None = None
    detail: str | None = None


class RecipientStatus(Sparse, frozen=True, kw_only=True):
    """How far a message has come to one person.  ``at``: since when, where that is known."""

    person: str
    status: State
    at: str | None = None
    reason: Reason | None = None


class Counts(Shape, frozen=True, kw_only=True):
    """How many recipients a message has, and how many are at each status, and not further."""

    recipients: int
    pending: int = 0
    sent: int = 0
    delivered_to_instance: int = 0
    delivered_to_device: int = 0
    read: int = 0


class DeliveryReport(Shape, frozen=True, kw_only=True):
    """How far a message has come.

    ``status``: the least of all recipients'.  ``recipients``: a page of them, by address; ``next``:
    the cursor of those after it.
    """

    message_id: str
    status: State
    counts: Counts
    recipients: list[RecipientStatus]
    next: str | None = None


class Cancelled(Sparse, frozen=True, kw_only=True):
    """A message that was taken back.  ``reached``: the instances that had it, which were asked to
    delete it; empty: nobody else ever gets what it said."""

    message_id: str
    reached: list[str] = []


class Retried(Shape, frozen=True, kw_only=True):
    """The instances that are tried again now, for a message."""

    message_id: str
    instances: list[str]
