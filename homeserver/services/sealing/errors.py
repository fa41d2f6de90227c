"""What can be wrong with a sealed file."""

from __future__ import annotations


class DamagedFile(OSError):
    """A sealed file is not as it was written: changed, cut off, or mixed up with another."""


class UnknownKey(DamagedFile):
    """A file is sealed with a key that this instance does not have."""
