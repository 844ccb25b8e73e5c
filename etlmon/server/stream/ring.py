"""The newest committed items in memory: what slow and resuming viewers are served from without asking the store."""

from __future__ import annotations

from bisect import bisect_right

from etlmon.server.stream.messages import Entry, LinesEntry

MAX_BYTES = 16 * 1024 * 1024
"""Log lines can be long: beyond this estimate of their text the oldest entries go, whatever their number."""


class Ring:
    """The last ``size`` messages' worth of entries. Holds every entry with a ``last_seq`` above ``floor``."""

    def __init__(self, size: int, floor: int) -> None:
        self.size = size
        self.floor = floor
        self._entries: list[Entry] = []
        self._seqs: list[int] = []
        self._start = 0
        self._n_messages = 0
        self._n_bytes = 0

    def append(self, entry: Entry) -> None:
        """Add the newest entry; the oldest make room for it."""
        self._entries.append(entry)
        self._seqs.append(entry.last_seq)
        self._n_messages += entry.size
        self._n_bytes += _weight(entry)
        while self._start < len(self._entries) and (self._n_messages > self.size or self._n_bytes > MAX_BYTES):
            self._drop_oldest()
        if self._start > 1024 and self._start * 2 > len(self._entries):
            del self._entries[: self._start], self._seqs[: self._start]
            self._start = 0

    def after(self, seq: int, limit: int) -> tuple[list[Entry], bool] | None:
        """The next ``limit`` entries that hold something after ``seq``, and whether there are more.

        None when some of what came after ``seq`` is no longer here.
        """
        if seq < self.floor:
            return None
        index = bisect_right(self._seqs, seq, lo=self._start)
        return self._entries[index : index + limit], index + limit < len(self._entries)

    def __len__(self) -> int:
        return len(self._entries) - self._start

    def _drop_oldest(self) -> None:
        entry = self._entries[self._start]
        self.floor = entry.last_seq
        self._n_messages -= entry.size
        self._n_bytes -= _weight(entry)
        self._entries[self._start] = None  # type: ignore[call-overload]  # frees the item before the list is cut
        self._start += 1


def _weight(entry: Entry) -> int:
    return entry.weight if isinstance(entry, LinesEntry) else 0
