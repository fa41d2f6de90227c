"""Headers with which media is served, so that no browser runs it.

Spec: client-server API, content repository, and serving inline content.
"""

from __future__ import annotations

from urllib.parse import quote

CONTENT_SECURITY_POLICY = (
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
    "style-src 'unsafe-inline'; object-src 'self';"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive, noimageindex",
}
INLINE_TYPES = frozenset(
    {
        "text/css",
        "text/plain",
        "text/csv",
        "application/json",
        "application/ld+json",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/apng",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
        "audio/mp4",
        "audio/webm",
        "audio/aac",
        "audio/mpeg",
        "audio/ogg",
        "audio/wave",
        "audio/wav",
        "audio/x-wav",
        "audio/x-pn-wav",
        "audio/flac",
        "audio/x-flac",
    }
)
_PLAIN = frozenset("!#$&+-.^_`|~ ()[]{}@,=")


def content_disposition(content_type: str, name: str | None) -> str:
    """``inline`` for the types that cannot hurt, ``attachment`` for all others."""
    essence = content_type.partition(";")[0].strip().lower()
    disposition = "inline" if essence in INLINE_TYPES else "attachment"
    if not name:
        return disposition
    if all(c.isascii() and (c.isalnum() or c in _PLAIN) for c in name):
        return f'{disposition}; filename="{name}"'
    return f"{disposition}; filename*=utf-8''{quote(name, safe='')}"


def media_headers(content_type: str, name: str | None) -> dict[str, str]:
    """The headers of a media response."""
    if content_type.startswith("text/") and "charset" not in content_type:
        content_type = f"{content_type}; charset=utf-8"
    return {
        "Content-Type": content_type,
        "Content-Disposition": content_disposition(content_type, name),
        **SECURITY_HEADERS,
    }
