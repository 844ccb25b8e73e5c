"""A spool that lives in memory alone, for where no spool directory can be used. It dies with the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from etlmon.sdk.frames import LOG
from etlmon.sdk.losses import Losses
from etlmon.sdk.mark import HISTORY, new_producer
from etlmon.sdk.tail import Batch, Limits, Tail


class MemorySpool:
    """The verbs of ``FileSpool``, with nothing behind them that outlives the process."""

    def __init__(self, producer: str, limits: Limits) -> None:
        self.producer = producer
        self.losses = Losses()
        self.appended = 0
        self.settled = 0
        self._limits = limits
        self._lock = threading.RLock()
        self._tail = Tail(limits.memory_bytes)
        self._seq = 0
        self._sizes: tuple[int, ...] = ()
        self._open: Batch | None = None

    def append(self, kind: int, payload: bytes) -> bool:
        """Hold one report; False when there is no room for its kind."""
        with self._lock:
            taken = self._tail.append(kind, payload)
            self.appended += taken
            return taken

    def append_lines(self, payloads: Sequence[bytes]) -> int:
        """Hold many log lines; how many were taken."""
        return sum(self.append(LOG, payload) for payload in payloads)

    def next_batch(self, max_reports: int, max_bytes: int) -> Batch | None:
        """The batch to send now: the open one again, else a new cut; None when all is delivered."""
        with self._lock:
            if self._open is None and len(self._tail):
                payloads = self._tail.first(max_reports, max_bytes)
                self._seq += 1
                self._sizes = (*self._sizes, len(payloads))[-HISTORY:]
                self._open = Batch(self.producer, self._seq, payloads)
            return self._open

    def taken(self) -> None:
        """The open batch is acknowledged."""
        with self._lock:
            if self._open is not None:
                self._drop(len(self._open.payloads))

    def recut(self, n: int) -> None:
        """Send only the first ``n`` reports of the open batch under its ``seq``; it was certainly not taken."""
        with self._lock:
            if self._open is not None:
                self._open = Batch(self.producer, self._seq, self._open.payloads[:n])
                self._sizes = (*self._sizes[:-1], n)

    def skip(self) -> None:
        """Give the open batch up: the server will never take it."""
        with self._lock:
            if self._open is not None:
                self._drop(len(self._open.payloads))
                self._seq -= 1
                self._sizes = self._sizes[:-1]

    def renew(self) -> None:
        """Go on as a new producer, the open batch first."""
        with self._lock:
            self.producer = new_producer()
            self._seq = 0
            self._sizes = ()
            if self._open is not None:
                self._seq = 1
                self._sizes = (len(self._open.payloads),)
                self._open = Batch(self.producer, 1, self._open.payloads)

    def lost_after(self, ack: int) -> int:
        """How many reports were acknowledged after batch ``ack`` and are no longer here."""
        return sum(self._sizes[-(self._seq - ack) : -1]) if ack < self._seq else 0

    def write_late(self) -> None:
        """Nothing is ever late in memory."""

    def close(self) -> None:
        """Nothing to close."""

    abandon = close

    def _drop(self, n: int) -> None:
        self._tail.drop(n)
        self.settled += n
        self._open = None
