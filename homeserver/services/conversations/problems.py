"""What can go wrong in the Conversations API beside what can go wrong everywhere.

Spec: RFC 9457, problem details.
"""

from __future__ import annotations

from typing import Any

from homeserver.errors import MatrixError, PolicyRefused

CODES = {
    "M_NOT_JSON": "invalid_json",
    "M_BAD_JSON": "invalid_body",
    "M_MISSING_PARAM": "invalid_parameter",
    "M_INVALID_PARAM": "invalid_parameter",
    "M_MISSING_TOKEN": "unauthenticated",
    "M_UNKNOWN_TOKEN": "unauthenticated",
    "M_FORBIDDEN": "forbidden",
    "M_USER_LOCKED": "account_locked",
    "M_USER_SUSPENDED": "account_suspended",
    "M_GUEST_ACCESS_FORBIDDEN": "forbidden",
    "M_NOT_FOUND": "not_found",
    "M_TOO_LARGE": "too_large",
    "M_LIMIT_EXCEEDED": "rate_limited",
    "M_RESOURCE_LIMIT_EXCEEDED": "quota_exceeded",
    "M_CONSENT_NOT_GIVEN": "consent_required",
    "M_INVITE_BLOCKED": "recipient_refuses",
    "M_ROOM_IN_USE": "name_taken",
    "M_USER_IN_USE": "name_taken",
    "M_INVALID_USERNAME": "invalid_parameter",
    "M_USER_DEACTIVATED": "account_ended",
    "M_UNRECOGNIZED": "no_such_endpoint",
    "M_WEAK_PASSWORD": "weak_password",
}
TITLES = {
    "invalid_json": "The body is not JSON",
    "invalid_body": "The body is not what this operation takes",
    "invalid_parameter": "A parameter has an impossible value",
    "unauthenticated": "A valid token is needed",
    "forbidden": "That is not allowed",
    "not_found": "There is no such thing",
    "too_large": "That is too large",
    "rate_limited": "Too many requests",
    "quota_exceeded": "A quota is used up",
    "consent_required": "Somebody has to agree first",
    "recipient_refuses": "The recipient takes no messages from you",
    "name_taken": "That name is taken",
    "account_locked": "The account is locked",
    "account_suspended": "The account is suspended",
    "account_ended": "The account has ended",
    "no_such_endpoint": "No such endpoint",
    "weak_password": "The password is too weak",
    "instance_unreachable": "Another instance does not answer",
    "internal_error": "Something went wrong on this server",
    "encryption_required": "This conversation is encrypted",
    "call_answered": "The call was answered on another device",
    "call_over": "The call is over",
    "not_in_conversation": "They are not in the conversation",
    "poll_closed": "The poll is closed",
    "policy_refused": "The instance's policy refuses that",
    "idempotency_mismatch": "The idempotency key was used for something else",
    "in_progress": "The same request is being worked on",
    "insufficient_scope": "The token is not good for that",
    "user_required": "The application has to say for whom it acts",
    "application_required": "That is for applications",
    "not_your_user": "That is no user of this application's",
    "already_delivered": "Every instance has the message",
    "already_deleted": "The message was deleted",
    "not_scheduled": "It does not wait to be sent any more",
    "precondition_failed": "It has changed since you read it",
    "media_in_use": "Something refers to the file",
    "media_damaged": "A file is damaged on this server",
    "storage_full": "The server has no more room",
    "upload_complete": "The upload is whole already",
    "upload_incomplete": "An upload is not whole yet",
    "upload_expired": "The upload was left for too long",
    "upload_locked": "Another request goes on with the upload",
    "offset_mismatch": "The upload goes on elsewhere",
    "checksum_mismatch": "The bytes are not what was sent",
    "unsupported_version": "That version of the protocol is not spoken here",
    "unsupported_media_type": "The body has the wrong type",
}


class Problem(MatrixError):
    """A failure with a code of this API.  ``extra`` joins the problem's JSON."""

    def __init__(self, code: str, detail: str, *, status: int = 400, **extra: Any) -> None:
        super().__init__(detail, errcode="M_UNKNOWN", status=status, **extra)
        self.code = code


def problem_code(error: MatrixError) -> str:
    """The code under which an error is told."""
    if isinstance(error, Problem):
        return error.code
    if isinstance(error, PolicyRefused):
        return "policy_refused"
    code = CODES.get(error.errcode)
    if code is not None:
        return code
    if error.status == 502:
        return "instance_unreachable"
    return "internal_error" if error.status >= 500 else "refused"


def problem_json(error: MatrixError) -> dict[str, Any]:
    """An error as a problem's JSON.  Spec: RFC 9457, section 3."""
    code = problem_code(error)
    extra = dict(error.extra)
    if "consent_uri" in extra:
        extra["consent_url"] = extra.pop("consent_uri")
    return {
        "type": f"/api/v1/problems/{code}",
        "title": TITLES.get(code, code.replace("_", " ").capitalize()),
        "status": error.status,
        "detail": error.text,
        "code": code,
        **extra,
    }
