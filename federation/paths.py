"""Paths of the Server-Server API, identifiers in them quoted."""

from __future__ import annotations

from urllib.parse import quote


def path_of(operation: str, *segments: str) -> str:
    """A path with identifiers in it: ``path_of("v1/make_join", room_id, user_id)``.

    Identifiers may contain ``/``, ``?`` and ``#``, so they must not go into a path as they are.
    """
    return "/".join(
        ("/_matrix/federation", operation, *(quote(segment, safe="") for segment in segments))
    )
