"""The log store: what the rest of the server may ask of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from etlmon.core.errors import StoreUnavailable
from etlmon.core.job import LogLine
from etlmon.server.store.logs.ahead import Ahead
from etlmon.server.store.logs.compaction import Compaction
from etlmon.server.store.logs.dayfile import DayFile, is_damage
from etlmon.server.store.logs.query import LogPage, LogQuery, Matcher
from etlmon.server.store.logs.reading import FileScan
from etlmon.server.store.logs.settings import BlockRef, LogSettings, LogStats
from etlmon.server.store.logs.writer import LogWriter

T = TypeVar("T")


class LogStore:
    """Log lines on disk: appended in ``seq`` order, read by position, job, level, time and text.

    ``append`` and ``discard`` are called by one thread (the writer of main.db); reads run in threads of their own.
    """

    def __init__(self, directory: Path, settings: LogSettings, now: Callable[[], int]) -> None:
        self.settings = settings
        self._writer = LogWriter(directory, settings, now)
        self._compaction = Compaction(self._writer)
        self._threads: ThreadPoolExecutor | None = None
        self._ahead = Ahead(self._all, settings.recent_bytes)
        self._damaged = 0

    def open(self, head: int, named: Callable[[int], bool] | None = None) -> None:
        """Opens the day files and makes them agree with the journal, which ends at ``head``.

        ``named``, when given, tells of an append's first ``seq`` whether a journal row names it; an append above
        ``head``, or not named, is removed. What cannot be read is set aside with a warning.
        """
        self._writer.open(head, named)
        self._threads = ThreadPoolExecutor(self.settings.readers, thread_name_prefix="etlmon-logs-read")
        self._compaction.start()

    def close(self) -> None:
        """Ends the threads and closes the files; nothing is lost by not calling it."""
        self._compaction.stop()
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        self._writer.close()

    def append(self, lines: Sequence[LogLine]) -> BlockRef:
        """Writes lines, in ascending ``seq`` and above all before; on disk when it returns.

        They are shown once ``head`` covers them. StoreUnavailable when the disk does not take them: then nothing
        was written.
        """
        return self._writer.append(lines)

    def discard(self, ref: BlockRef) -> None:
        """Takes the newest append back, because the commit that was to name it failed."""
        self._writer.discard(ref)

    async def read(self, query: LogQuery, head: int) -> LogPage:
        """The lines up to ``head`` that match, a page of them; Invalid for words or a pattern that cannot be."""
        matcher = Matcher(query)
        return await self._in_thread(lambda: self._read(matcher, head))

    async def runs(self, after: int, upto: int, limit: int) -> list[list[LogLine]]:
        """The first ``limit`` lines with after < seq ≤ upto, in order, as runs of consecutive ``seq``."""
        self._writer.settle(upto)
        for memory in (self._writer.recent, self._ahead):
            lines = memory.between(after, upto, limit)
            if lines is not None:
                return _runs(lines)
        return _runs(await self._in_thread(lambda: self._ahead.read(after, upto, limit)))

    @property
    def oldest_seq(self) -> int:
        """No line with a ``seq`` above this has been dropped by retention (0: none at all has)."""
        files = self._writer.files
        return files[0].prior_seq if files else 0

    def prune(self, now: int) -> int:
        """Drops whole files, oldest first, until age and bytes hold; how many were dropped."""
        return self._writer.prune(now)

    def stats(self) -> LogStats:
        """Counts for health and metrics."""
        files = self._writer.files
        return LogStats(
            files=len(files),
            bytes=sum(file.size() for file in files),
            lines=sum(file.n_lines for file in files),
            uncompacted=sum(file.n_uncompacted for file in files),
            oldest_seq=self.oldest_seq,
            set_aside=self._writer.unread + sum(file.damaged for file in files),
            damaged=self._damaged + self._compaction.damaged,
        )

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        if self._threads is None:
            raise StoreUnavailable("The log store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def _read(self, matcher: Matcher, head: int) -> LogPage:
        self._writer.settle(head)
        query = matcher.query
        low = -1 if query.after_seq is None else query.after_seq
        high = head + 1 if query.before_seq is None else min(query.before_seq, head + 1)
        most = query.limit if query.tail is None else query.tail
        until = time.monotonic() + self.settings.page_ms / 1000
        if most <= 0:
            return LogPage([], None)
        lines: list[LogLine] = []
        reached: int | None = None
        files = self._writer.files
        for file in reversed(files) if query.backwards else files:
            more, reached = self._search(file, matcher, (low, high), most - len(lines), until)
            lines += more
            if len(lines) >= most:
                reached = lines[-1].seq
            if reached is not None:
                break
        if query.tail is not None:
            lines.reverse()
        return LogPage(lines, None if reached is None else str(reached))

    def _search(
        self, file: DayFile, matcher: Matcher, bounds: tuple[int, int], most: int, until: float
    ) -> tuple[list[LogLine], int | None]:
        """What one file has, and the place where the search stopped for want of time."""
        low, high = bounds
        if file.upto_seq is not None:
            high = min(high, file.upto_seq + 1)
        lines: list[LogLine] = []
        if file.last_seq <= low or file.prior_seq + 1 >= high:
            return lines, None
        scan = FileScan(matcher, frozenset(file.void))
        try:
            with self._writer.readers.reading(file) as scan.connection:
                while len(lines) < most and (step := scan.step(low, high)) is not None:
                    lines += scan.search(step, low, high, most - len(lines))
                    low, high = (low, step.reached) if matcher.query.backwards else (step.reached, high)
                    if time.monotonic() > until:
                        return lines, step.reached
        except sqlite3.DatabaseError as fault:
            if file.gone:
                return [], None
            if not is_damage(fault):
                raise StoreUnavailable(f"The log file {file.path.name} cannot be read now ({fault}).") from fault
            file.report_damage(fault)
        finally:
            self._damaged += scan.damaged
        return lines, None

    def _all(self, after: int, upto: int, limit: int) -> list[LogLine]:
        """The first ``limit`` lines with after < seq ≤ upto, going on past the deadline: no short page is the end."""
        lines: list[LogLine] = []
        cursor: str | None = str(after)
        while cursor is not None and len(lines) < limit:
            page = self._read(Matcher(LogQuery(after_seq=int(cursor), limit=limit - len(lines))), upto)
            lines += page.lines
            cursor = page.next
        return lines


def _runs(lines: list[LogLine]) -> list[list[LogLine]]:
    runs: list[list[LogLine]] = []
    for line in lines:
        if runs and runs[-1][-1].seq + 1 == line.seq:
            runs[-1].append(line)
        else:
            runs.append([line])
    return runs
