"""Files of which any part can be read, whatever is behind them."""

from __future__ import annotations

import io


class RandomAccess(io.RawIOBase):
    """Knows the place in a file of a known size; to read from there on is the others' business."""

    size: int
    """How many bytes there are."""

    def __init__(self) -> None:
        super().__init__()
        self._place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The place."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; it may be beyond the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = base + offset
        return self._place
