"""Copies of small objects on this machine: of so many bytes in all, those used last."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
DELETIONS = 10_000  # so many are remembered


class FileCache:
    """A directory of copies, under the names of what they are copies of.

    Blocks.  May be used by several threads of one process.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        """``max_bytes`` 0: nothing is kept."""
        self.root = root
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # the one used last at the end
        self._bytes = 0
        self._clock = 0
        self._deleted: OrderedDict[str, int] = OrderedDict()

    def prepare(self) -> None:
        """Make the directory, and look at what is in it from before."""
        self.root.mkdir(parents=True, exist_ok=True)
        found = []
        for path in self.root.rglob("*"):
            if path.name.endswith(PARTIAL):
                path.unlink(missing_ok=True)
            elif path.is_file():
                status = path.stat()
                found.append((status.st_mtime, str(path.relative_to(self.root)), status.st_size))
        with self._lock:
            self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
            self._bytes = sum(self._sizes.values())
            self._evict()

    def open(self, name: str) -> BinaryIO | None:
        """A copy, if there is one."""
        with self._lock:
            if name not in self._sizes:
                return None
            try:
                file = (self.root / name).open("rb")
            except FileNotFoundError:  # somebody has tidied up
                self._forget(name)
                return None
            self._sizes.move_to_end(name)
            return file

    def has(self, name: str) -> bool:
        """Whether there is a copy."""
        with self._lock:
            return name in self._sizes

    def moment(self) -> int:
        """Now: ask before you fetch what you :meth:`put` here."""
        with self._lock:
            return self._clock

    def put(self, name: str, content: bytes, since: int) -> None:
        """Keep a copy, unless the original was deleted ``since``."""
        if not self._max_bytes or len(content) > self._max_bytes:
            return
        place = self.root / name
        partial = place.with_name(f"{place.name}.{secrets.token_hex(4)}{PARTIAL}")
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            with self._lock:
                directory = name.rpartition("/")[0]
                if max(self._deleted.get(name, -1), self._deleted.get(directory, -1)) < since:
                    self._forget(name)
                    partial.replace(place)
                    self._sizes[name] = len(content)
                    self._bytes += len(content)
                    self._evict()
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """The original was deleted."""
        with self._lock:
            self._remember(name)
            self._forget(name)
            (self.root / name).unlink(missing_ok=True)

    def delete_directory(self, name: str) -> None:
        """All originals in a directory were deleted."""
        with self._lock:
            for known in [known for known in self._sizes if known.startswith(f"{name}/")]:
                self._forget(known)
            self._remember(name)
            shutil.rmtree(self.root / name, ignore_errors=True)

    def _remember(self, name: str) -> None:
        self._deleted[name] = self._clock
        self._deleted.move_to_end(name)
        self._clock += 1
        if len(self._deleted) > DELETIONS:
            self._deleted.popitem(last=False)

    def _forget(self, name: str) -> None:
        self._bytes -= self._sizes.pop(name, 0)

    def _evict(self) -> None:
        while self._bytes > self._max_bytes:
            name = next(iter(self._sizes))
            self._forget(name)
            (self.root / name).unlink(missing_ok=True)
