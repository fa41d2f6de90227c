"""Paths of the Server-Server API, each segment percent-encoded."""

from __future__ import annotations

from urllib.parse import quote


def api_path(operation: str, *segments: str, version: str = "v1") -> str:
    """``/_matrix/federation/{version}/{operation}/{segment}/...``"""
    encoded = (quote(segment, safe="") for segment in segments)
    return "/".join((f"/_matrix/federation/{version}/{operation}", *encoded))
