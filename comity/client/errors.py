"""What can go wrong."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """The server refuses, and says why: RFC 9457, problem details.

    ``code`` is for programs (``rate_limited``, ``consent_required``), ``detail`` for people;
    ``extra`` is what else the server said.
    """

    def __init__(self, told: dict[str, Any], status: int) -> None:
        self.code: str = told.get("code", "unknown")
        self.title: str = told.get("title", "")
        self.detail: str = told.get("detail", "")
        self.status = status
        self.extra = told
        super().__init__(f"{self.code}: {self.detail}")


class ConnectionFailed(Exception):
    """The server could not be reached, however often it was tried."""


class Reset(Exception):
    """The server no longer has what happened since the position: read everything anew."""
