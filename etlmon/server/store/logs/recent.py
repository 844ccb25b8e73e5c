"""The newest lines, as they were appended, so that a stream that follows closely reads no file."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from operator import attrgetter

from etlmon.core.job import LogLine

_seq = attrgetter("seq")


LINE_BYTES = 250
"""What a line weighs beside its text on CPython 3.11: the struct 96, its texts' heads 2 × 49, its numbers 2 × 32."""


class Recent:
    """Whole appends, newest last, bounded by the bytes of their text; the oldest go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._appends: deque[tuple[list[LogLine], int]] = deque()
        self._bytes = 0
        self._from: int | None = None

    def start(self, seq: int) -> None:
        """Nothing is known of lines up to ``seq``."""
        with self._lock:
            self._appends.clear()
            self._bytes = 0
            self._from = seq

    def add(self, lines: list[LogLine], size: int) -> None:
        """Takes the lines of one append, whose text has ``size`` bytes."""
        size += LINE_BYTES * len(lines)
        with self._lock:
            self._appends.append((lines, size))
            self._bytes += size
            while self._appends and self._bytes > self._max_bytes:
                gone, weight = self._appends.popleft()
                self._bytes -= weight
                self._from = gone[-1].seq

    def drop(self, first_seq: int) -> None:
        """Forgets the append that begins with ``first_seq``."""
        with self._lock:
            kept = [(lines, size) for lines, size in self._appends if lines[0].seq != first_seq]
            self._appends = deque(kept)
            self._bytes = sum(size for _, size in kept)

    def between(self, after: int, upto: int, limit: int) -> list[LogLine] | None:
        """The first ``limit`` lines with after < seq ≤ upto; None when some of them may be in the files only."""
        with self._lock:
            if self._from is None or after < self._from:
                return None
            appends = [lines for lines, _ in self._appends if lines[-1].seq > after and lines[0].seq <= upto]
        found: list[LogLine] = []
        for lines in appends:
            start, end = bisect_right(lines, after, key=_seq), bisect_left(lines, upto + 1, key=_seq)
            found += lines[start:end][: limit - len(found)]
            if len(found) >= limit:
                break
        return found
