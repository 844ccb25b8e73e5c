"""What streams that catch up will ask for next, read in one larger piece.

Lines of many jobs lie together on disk by job, not by time, so each piece costs a visit to every job's chunk.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from operator import attrgetter

from etlmon.core.job import LogLine

_seq = attrgetter("seq")
_TIMES = 8
_PIECES = 2

Read = Callable[[int, int, int], list[LogLine]]
"""(after, upto, limit) → the first ``limit`` lines with after < seq ≤ upto."""


class Ahead:
    """The two pieces read last, each of at most about ``max_bytes`` text."""

    def __init__(self, read: Read, max_bytes: int) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._pieces: deque[tuple[int, int, list[LogLine]]] = deque(maxlen=_PIECES)

    def between(self, after: int, upto: int, limit: int) -> list[LogLine] | None:
        """The first ``limit`` lines with after < seq ≤ upto; None when no piece holds them all."""
        with self._lock:
            pieces = list(self._pieces)
        for start, end, lines in pieces:
            if start <= after < end:
                first, last = bisect_right(lines, after, key=_seq), bisect_left(lines, upto + 1, key=_seq)
                if upto <= end or last - first >= limit:
                    return lines[first:last][:limit]
        return None

    def read(self, after: int, upto: int, limit: int) -> list[LogLine]:
        """Reads the first ``limit`` lines, and keeps them with as many more as there is room for."""
        lines = self._read(after, upto, limit)
        if len(lines) < limit:
            return lines
        size = 1 + sum(map(_size, lines))
        more = min((_TIMES - 1) * limit, (self._max_bytes - size) * len(lines) // size)
        further = self._read(lines[-1].seq, upto, more) if more > 0 else []
        if further:
            end = upto if len(further) < more else further[-1].seq
            with self._lock:
                self._pieces.append((after, end, lines + further))
        return lines


def _size(line: LogLine) -> int:
    return len(line.message) + (0 if line.fields is None else len(bytes(line.fields)))
