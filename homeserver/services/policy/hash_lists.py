"""Lists of known files, as admins share them: exact hashes, and hashes of what pictures look like.

A list is a text file, one hash in hexadecimal a line; what follows a space is a remark (so the
output of ``sha256sum`` is a list), and so is a line that begins with ``#``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TypeVar

Hash = TypeVar("Hash")

MAX_ENTRIES = 2_000_000
SHA256_DIGITS = 64
PERCEPTUAL_DIGITS = 16
PARTS = 4
PART_BITS = 16
PART_MASK = (1 << PART_BITS) - 1
FARTHEST = 32  # bits: half of them differ between pictures that have nothing in common
FEWEST_INDEXED = 256


class BadHashList(ValueError):
    """A list cannot be read; the text names the file, the line and what is wrong with it."""


def load_sha256_list(path: Path) -> frozenset[bytes]:
    """The SHA-256 hashes of a list.  Raises :class:`BadHashList`."""
    return frozenset(_load(path, SHA256_DIGITS, bytes.fromhex))


def load_perceptual_list(path: Path) -> PerceptualIndex:
    """The perceptual hashes of a list.  Raises :class:`BadHashList`."""
    return PerceptualIndex(_load(path, PERCEPTUAL_DIGITS, lambda text: int(text, 16)))


def _load(path: Path, digits: int, parse: Callable[[str], Hash]) -> Iterator[Hash]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.split(maxsplit=1)[0] if line.strip() else "#"
                if text.startswith("#"):
                    continue
                if len(text) != digits or not set(text) <= set("0123456789abcdefABCDEF"):
                    raise BadHashList(f"{path}:{number}: expected {digits} hexadecimal digits")
                if number > MAX_ENTRIES:
                    raise BadHashList(f"{path}: a list may have at most {MAX_ENTRIES} lines")
                yield parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadHashList(f"{path}: {getattr(error, 'strerror', None) or 'not text'}") from error


class PerceptualIndex:
    """Finds the nearest of many 64-bit hashes without comparing all of them.

    Each hash is cut into four parts.  Of two hashes that differ in ``distance`` bits, at least one
    part differs in no more than a quarter of them: so it is enough to look, for each part, at the
    hashes that have nearly the same one.
    """

    def __init__(self, hashes: Iterable[int]) -> None:
        self._hashes = frozenset(hashes)
        self._parts: tuple[dict[int, list[int]], ...] = ()
        if len(self._hashes) >= FEWEST_INDEXED:
            parts: tuple[defaultdict[int, list[int]], ...] = tuple(
                defaultdict(list) for _ in range(PARTS)
            )
            for known in self._hashes:
                for number, part in enumerate(parts):
                    part[_part(known, number)].append(known)
            self._parts = tuple(dict(part) for part in parts)

    def __len__(self) -> int:
        return len(self._hashes)

    def nearest(self, wanted: int, distance: int) -> int | None:
        """The known hash that is nearest to this one; None if none is within ``distance`` bits."""
        if wanted in self._hashes:
            return wanted
        distance = min(distance, FARTHEST)
        best, best_distance = None, distance + 1
        for known in self._candidates(wanted, distance):
            apart = (known ^ wanted).bit_count()
            if apart < best_distance:
                best, best_distance = known, apart
        return best

    def _candidates(self, wanted: int, distance: int) -> Iterable[int]:
        masks = _masks(distance // PARTS)
        if not self._parts or len(masks) * PARTS > len(self._hashes):
            return self._hashes
        return (
            known
            for number, part in enumerate(self._parts)
            for mask in masks
            for known in part.get(_part(wanted, number) ^ mask, ())
        )


def _part(wanted: int, number: int) -> int:
    return wanted >> (PART_BITS * number) & PART_MASK


_MASKS: dict[int, list[int]] = {}


def _masks(most: int) -> list[int]:
    """Every way in which a part may differ in at most so many bits."""
    if most not in _MASKS:
        _MASKS[most] = [
            sum(1 << bit for bit in bits)
            for count in range(most + 1)
            for bits in combinations(range(PART_BITS), count)
        ]
    return _MASKS[most]
