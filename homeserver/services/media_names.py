"""What a file is called, and what it claims to be, as far as that is well-formed."""

from __future__ import annotations

import re
import secrets

UNKNOWN_TYPE = "application/octet-stream"
MAX_NAME = 255
MAX_TYPE = 127

# Spec: client-server API, content repository, security considerations.
MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;[\x20-\x7e]*)?")


def new_media_id() -> str:
    """An ID that nobody can guess."""
    return secrets.token_urlsafe(24)


def clean_content_type(content_type: str | None) -> str:
    """What a file claims to be, if it is well-formed; unknown otherwise."""
    if content_type is None or len(content_type) > MAX_TYPE:
        return UNKNOWN_TYPE
    content_type = content_type.strip()
    if content_type.startswith("multipart/") or not _CONTENT_TYPE.fullmatch(content_type):
        return UNKNOWN_TYPE
    return content_type


def clean_name(name: str | None) -> str | None:
    """A file's name without control characters and path separators."""
    if name is None:
        return None
    name = "".join(c for c in name if c.isprintable()).replace("/", "_").replace("\\", "_")
    return name[:MAX_NAME] or None
