"""What can go wrong between instances.

Whoever asks another instance for something meets a :class:`FederationFailure`: ``Temporary``
(back off, try again), ``Permanent`` (somebody has to mend something), or ``PeerError`` (it
answered, and refused).  Where one reaches an edge it becomes a
:class:`~homeserver.errors.MatrixError`.
"""

from __future__ import annotations

from http import HTTPStatus

from homeserver.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    LimitExceeded,
    MatrixError,
    PeerFailed,
)
from homeserver.protocol.json_types import JsonObject

# What must not reach a client as it is: it would take the answer to be about itself, and log out.
OWN_AFFAIRS = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_UNAUTHORIZED", "M_UNRECOGNIZED"})

MAX_VERSION = 32  # characters of a room version's identifier


class FederationFailure(Exception):
    """Another instance could not do what it was asked."""

    def __init__(self, server_name: str, reason: str) -> None:
        super().__init__(f"{server_name}: {reason}")
        self.server_name = server_name
        self.reason = reason

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return True

    def to_matrix_error(self) -> MatrixError:
        """What the client or peer that waits for the answer is told."""
        return PeerFailed(f"Could not reach {self.server_name}: {self.reason}")


class Temporary(FederationFailure):
    """The instance did not answer, or not now.  ``retry_after_seconds``: no sooner, if known."""

    def __init__(
        self, server_name: str, reason: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(server_name, reason)
        self.retry_after_seconds = retry_after_seconds


class Permanent(FederationFailure):
    """It will not work until somebody changes something: a bad name, for example."""

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return False


class Refused(Permanent):
    """We do not deal with this instance: its block, or the admin's lists of servers."""

    def to_matrix_error(self) -> MatrixError:
        """What the client is told: that it is our own refusal, and why."""
        return Forbidden(f"This server does not talk to {self.server_name}: {self.reason}")


class TooMuch(Permanent):
    """The answer exceeds the limit that was set for it."""


class PeerError(FederationFailure):
    """The instance answered with an error."""

    def __init__(
        self,
        server_name: str,
        status: int,
        errcode: str,
        text: str,
        *,
        retry_after_seconds: float | None = None,
        body: JsonObject | None = None,
    ) -> None:
        """``body``: the whole answer, as far as it was JSON."""
        super().__init__(server_name, f"{status} {errcode}: {text}")
        self.body = body or {}
        self.status = status
        self.errcode = errcode
        self.text = text
        self.retry_after_seconds = retry_after_seconds

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self.status in (
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.TOO_MANY_REQUESTS,
        )

    def to_matrix_error(self) -> MatrixError:
        """The peer's refusal, where it concerns the one who asked; else 502."""
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return LimitExceeded(round((self.retry_after_seconds or 1) * 1000))
        about_the_request = (
            HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
            and self.status != HTTPStatus.UNAUTHORIZED
            and self.errcode not in OWN_AFFAIRS
        )
        if about_the_request:
            extra = {}
            if self.errcode == IncompatibleRoomVersion.errcode and "room_version" in self.body:
                extra["room_version"] = str(self.body["room_version"])[:MAX_VERSION]
            return MatrixError(self.text, errcode=self.errcode, status=self.status, **extra)
        return PeerFailed(f"{self.server_name} answered with an error: {self.text}")
