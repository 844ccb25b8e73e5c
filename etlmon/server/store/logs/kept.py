"""Blocks just written, still unpacked: under load compaction takes them from here and need not unpack them again."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from etlmon.server.store.logs.columns import Columns

_KEPT_S = 3.0
"""Under load a round follows within a second or two; a trickle is not worth the memory."""


class Kept:
    """Columns by file and block, for some seconds, bounded by the bytes of their text; the oldest go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._blocks: dict[tuple[Path, int], tuple[Columns, int, float]] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def put(self, path: Path, last_seq: int, columns: Columns, size: int) -> None:
        """Keeps the columns of the block that ends with ``last_seq``."""
        with self._lock:
            self._blocks[path, last_seq] = (columns, size, time.monotonic())
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._remove(next(iter(self._blocks)))

    def take(self, path: Path, last_seq: int) -> Columns | None:
        """The block's columns, if they are still here; once."""
        with self._lock:
            return self._remove((path, last_seq)) if (path, last_seq) in self._blocks else None

    def fade(self) -> None:
        """Lets go of what was kept long enough."""
        old = time.monotonic() - _KEPT_S
        with self._lock:
            for block in [block for block, (_, _, since) in self._blocks.items() if since < old]:
                self._remove(block)

    def clear(self) -> None:
        """Lets go of all."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0

    def _remove(self, block: tuple[Path, int]) -> Columns:
        columns, size, _ = self._blocks.pop(block)
        self._bytes -= size
        return columns
