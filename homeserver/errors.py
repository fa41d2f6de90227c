"""What can go wrong, one exception type per kind of failure.

Each carries the Matrix ``errcode``, the HTTP status and a text that is safe to show and says what
the reader can do.  The edge turns it into JSON once (:mod:`homeserver.web`).  Spec:
client-server API, standard error response.
"""

from __future__ import annotations

from typing import Any


class MatrixError(Exception):
    """A failure that the client or peer is told of.  ``extra`` joins the JSON body."""

    errcode = "M_UNKNOWN"
    status = 400

    def __init__(
        self,
        text: str,
        *,
        errcode: str | None = None,
        status: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(text)
        self.text = text
        if errcode is not None:
            self.errcode = errcode
        if status is not None:
            self.status = status
        self.extra = extra

    def to_json(self) -> dict[str, Any]:
        """The standard error response's body."""
        return {"errcode": self.errcode, "error": self.text, **self.extra}


class NotJson(MatrixError):
    """The request's body is not JSON."""

    errcode, status = "M_NOT_JSON", 400


class BadJson(MatrixError):
    """The JSON lacks something, or something in it has the wrong type."""

    errcode, status = "M_BAD_JSON", 400


class MissingParam(MatrixError):
    """A required parameter is absent."""

    errcode, status = "M_MISSING_PARAM", 400


class InvalidParam(MatrixError):
    """A parameter has an impossible value."""

    errcode, status = "M_INVALID_PARAM", 400


class MissingToken(MatrixError):
    """No access token was given."""

    errcode, status = "M_MISSING_TOKEN", 401


class UnknownToken(MatrixError):
    """The access token is unknown, expired or revoked."""

    errcode, status = "M_UNKNOWN_TOKEN", 401


class Unauthorized(MatrixError):
    """A request of another instance is not signed as it must be."""

    errcode, status = "M_UNAUTHORIZED", 401


class Forbidden(MatrixError):
    """The caller may not do this."""

    errcode, status = "M_FORBIDDEN", 403


class UserLocked(MatrixError):
    """The account is locked: its sessions live on, but are good for nothing until it is unlocked.

    Spec: client-server API, account locking.
    """

    errcode, status = "M_USER_LOCKED", 401

    def __init__(self) -> None:
        super().__init__("This account has been locked", soft_logout=True)


class UserSuspended(MatrixError):
    """The account is suspended, and this is not among what it may still do.

    Spec: client-server API, account suspension.
    """

    errcode, status = "M_USER_SUSPENDED", 403

    def __init__(self) -> None:
        super().__init__("You cannot perform this action while suspended.")


class GuestForbidden(MatrixError):
    """Not for guests.  Spec: client-server API, guest access."""

    errcode, status = "M_GUEST_ACCESS_FORBIDDEN", 403


class PolicyRefused(Forbidden):
    """The instance's policy refuses what somebody here wants to send."""


class NotFound(MatrixError):
    """There is no such thing, or the caller may not know of it."""

    errcode, status = "M_NOT_FOUND", 404


class Unrecognized(MatrixError):
    """No such endpoint (404) or not with this method (405)."""

    errcode, status = "M_UNRECOGNIZED", 404


class TooLarge(MatrixError):
    """The body, event or upload exceeds a limit."""

    errcode, status = "M_TOO_LARGE", 413


class LimitExceeded(MatrixError):
    """Too many requests; ``retry_after_ms`` says when to come back."""

    errcode, status = "M_LIMIT_EXCEEDED", 429

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(
            f"Too many requests: try again in {retry_after_ms} ms", retry_after_ms=retry_after_ms
        )


class UnsupportedRoomVersion(MatrixError):
    """This server does not know the room version asked for."""

    errcode, status = "M_UNSUPPORTED_ROOM_VERSION", 400


class IncompatibleRoomVersion(MatrixError):
    """The joining server does not support this room's version."""

    errcode, status = "M_INCOMPATIBLE_ROOM_VERSION", 400


class ConsentNotGiven(MatrixError):
    """The user has to agree first, on the page at ``consent_uri``."""

    errcode, status = "M_CONSENT_NOT_GIVEN", 403

    def __init__(self, text: str, consent_uri: str) -> None:
        super().__init__(text, consent_uri=consent_uri)


class InviteBlocked(MatrixError):
    """The recipient takes no invites from this sender."""

    errcode, status = "M_INVITE_BLOCKED", 403


class PeerFailed(MatrixError):
    """Another instance that the request needs did not answer, or refused."""

    errcode, status = "M_UNKNOWN", 502
