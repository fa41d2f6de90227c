"""What a file is, found out by looking into it: the facts that policy may judge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of one file.  Its content, not its sender, says so."""

    mime_type: str  # sniffed, not as claimed
    size_bytes: int
    sha256: bytes
    width: int | None = None  # pixels, of an image
    height: int | None = None
    perceptual_hash: int | None = None  # 64 bits; alike images differ in few of them
