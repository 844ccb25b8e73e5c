"""The newest lines, as they were appended, so that a stream that follows closely reads no file."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque

from etlmon.core.job import LogLine
from etlmon.server.store.logs.columns import Columns

LINE_BYTES = 160
"""What a line weighs beside its text on CPython 3.11: its places in five columns 40, its text's head 49, its numbers
2 × 32."""


class Recent:
    """Whole blocks, newest last, bounded by the bytes of their text; the oldest go first. Shared with others: never
    changed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._blocks: deque[tuple[Columns, int]] = deque()
        self._bytes = 0
        self._from: int | None = None

    def start(self, seq: int) -> None:
        """Nothing is known of lines up to ``seq``."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0
            self._from = seq

    def add(self, block: Columns, size: int) -> None:
        """Takes the newest lines, whose text has ``size`` bytes."""
        size += LINE_BYTES * len(block.seqs)
        with self._lock:
            self._blocks.append((block, size))
            self._bytes += size
            while self._blocks and self._bytes > self._max_bytes:
                gone, weight = self._blocks.popleft()
                self._bytes -= weight
                self._from = gone.seqs[-1]

    def drop(self, first_seq: int) -> None:
        """Forgets the newest append, which begins with ``first_seq``."""
        with self._lock:
            while self._blocks and self._blocks[-1][0].seqs[0] >= first_seq:
                self._bytes -= self._blocks.pop()[1]

    def between(self, after: int, upto: int, limit: int) -> list[LogLine] | None:
        """The first ``limit`` lines with after < seq ≤ upto; None when some of them may be in the files only."""
        with self._lock:
            if self._from is None or after < self._from:
                return None
            blocks = [block for block, _ in self._blocks if block.seqs[-1] > after and block.seqs[0] <= upto]
        found: list[LogLine] = []
        for block in blocks:
            start, end = bisect_right(block.seqs, after), bisect_left(block.seqs, upto + 1)
            found += block.slice(start, min(end, start + limit - len(found))).lines()
            if len(found) >= limit:
                break
        return found
