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

Following = Callable[[int, int, int], tuple[list[LogLine], int]]
"""(after, upto, limit) → some of the next lines with after < seq ≤ upto, and up to where they are all of them."""


class Ahead:
    """The two pieces read last: each what ``following`` gives for eight times what was asked."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._lock = threading.Lock()
        self._pieces: deque[tuple[int, int, list[LogLine]]] = deque(maxlen=_PIECES)

    def read(self, after: int, upto: int, limit: int) -> list[LogLine]:
        """The first ``limit`` lines with after < seq ≤ upto."""
        lines: list[LogLine] = []
        while len(lines) < limit and after < upto:
            more, after = self._piece(after, upto, limit - len(lines))
            lines += more
        return lines

    def _piece(self, after: int, upto: int, limit: int) -> tuple[list[LogLine], int]:
        with self._lock:
            pieces = list(self._pieces)
        for start, end, lines in pieces:
            if start <= after < end:
                first, last = bisect_right(lines, after, key=_seq), bisect_left(lines, upto + 1, key=_seq)
                return lines[first:last][:limit], end
        lines, end = self._following(after, upto, _TIMES * limit)
        if len(lines) > limit:
            with self._lock:
                self._pieces.append((after, end, lines))
        return lines[:limit], end


def line_size(line: LogLine) -> int:
    """The text of a line, about in bytes."""
    return len(line.message) + (0 if line.fields is None else len(bytes(line.fields)))
