"""The log store: what the rest of the server may ask of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from etlmon.core.errors import StoreUnavailable
from etlmon.core.job import LogLine
from etlmon.server.store.logs.ahead import Ahead, line_size
from etlmon.server.store.logs.columns import Columns
from etlmon.server.store.logs.compaction import Compaction
from etlmon.server.store.logs.dayfile import DayFile, is_damage
from etlmon.server.store.logs.query import LogPage, LogQuery, Matcher
from etlmon.server.store.logs.reading import FileScan, Hit
from etlmon.server.store.logs.settings import BlockRef, LogSettings, LogStats
from etlmon.server.store.logs.writer import LogWriter

T = TypeVar("T")


class LogStore:
    """Log lines on disk: appended in ``seq`` order, read by position, job, level, time and text.

    The appends and ``discard`` are called by one thread (the writer of main.db); reads run in threads of their own.
    """

    def __init__(self, directory: Path, settings: LogSettings, now: Callable[[], int]) -> None:
        self.settings = settings
        self._writer = LogWriter(directory, settings, now)
        self._compaction = Compaction(self._writer)
        self._threads: ThreadPoolExecutor | None = None
        self._ahead = Ahead(self._following)
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
        return self.append_columns(Columns.of(lines))

    def append_columns(self, lines: Columns) -> BlockRef:
        """As ``append``; the columns must not be changed afterwards."""
        return self._writer.append(lines)

    def discard(self, ref: BlockRef) -> None:
        """Takes the newest append back, because the commit that was to name it failed."""
        self._writer.discard(ref)

    async def read(self, query: LogQuery, head: int) -> LogPage:
        """The lines up to ``head`` that match, a page of them; Invalid for words or a pattern that cannot be."""
        return await self._in_thread(lambda: self._read(Matcher(query), head, self.settings.page_bytes))

    async def runs(self, after: int, upto: int, limit: int) -> list[list[LogLine]]:
        """The first ``limit`` lines with after < seq ≤ upto, in order, as runs of consecutive ``seq``."""
        self._writer.settle(upto)
        lines = self._writer.recent.between(after, upto, limit)
        if lines is None:
            lines = await self._in_thread(lambda: self._ahead.read(after, upto, limit))
        return _runs(lines)

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

    def _read(self, matcher: Matcher, head: int, max_bytes: int) -> LogPage:
        self._writer.settle(head)
        query = matcher.query
        low = -1 if query.after_seq is None else query.after_seq
        high = head + 1 if query.before_seq is None else min(query.before_seq, head + 1)
        most = query.limit if query.tail is None else query.tail
        until = time.monotonic() + self.settings.page_ms / 1000
        if most <= 0:
            return LogPage([], None)
        hits: list[Hit] = []
        reached: int | None = None
        files = self._writer.files
        for file in reversed(files) if query.backwards else files:
            more, reached = self._search(file, matcher, (low, high), most - len(hits), until)
            hits += more
            if len(hits) >= most:
                reached = hits[-1][0]
            if reached is not None:
                break
        return self._page(matcher, hits, reached, max_bytes)

    def _page(self, matcher: Matcher, hits: list[Hit], reached: int | None, max_bytes: int) -> LogPage:
        """The lines found, up to the one with which they have ``max_bytes`` of text, and where to go on."""
        lines: list[LogLine] = []
        size = 0
        for seq, body, place in hits:
            try:
                line = body.line(place)
            except msgspec.MsgspecError:
                self._damaged += 1
                continue
            lines.append(line)
            size += line_size(line)
            if size >= max_bytes and len(lines) < len(hits):
                reached = seq
                break
        if matcher.query.tail is not None:
            lines.reverse()
        return LogPage(lines, None if reached is None else str(reached))

    def _search(
        self, file: DayFile, matcher: Matcher, bounds: tuple[int, int], most: int, until: float
    ) -> tuple[list[Hit], int | None]:
        """What one file has, and the place where the search stopped for want of time."""
        low, high = bounds
        if file.upto_seq is not None:
            high = min(high, file.upto_seq + 1)
        hits: list[Hit] = []
        if file.last_seq <= low or file.prior_seq + 1 >= high:
            return hits, None
        scan = FileScan(matcher, frozenset(file.void))
        try:
            with self._writer.readers.reading(file) as scan.connection:
                while len(hits) < most and (step := scan.step(low, high)) is not None:
                    hits += scan.search(step, low, high, most - len(hits))
                    low, high = (low, step.reached) if matcher.query.backwards else (step.reached, high)
                    if time.monotonic() > until:
                        return hits, step.reached
        except sqlite3.DatabaseError as fault:
            if file.gone:
                return [], None
            if not is_damage(fault):
                raise StoreUnavailable(f"The log file {file.path.name} cannot be read now ({fault}).") from fault
            file.report_damage(fault)
        finally:
            self._damaged += scan.damaged
        return hits, None

    def _following(self, after: int, upto: int, limit: int) -> tuple[list[LogLine], int]:
        """The next lines with after < seq ≤ upto, at most ``limit``, and how far they reach. A short piece is no end:
        at least one line is found if there is one."""
        cursor: str | None = str(after)
        while cursor is not None:
            query = LogQuery(after_seq=int(cursor), limit=limit)
            page = self._read(Matcher(query), upto, self.settings.recent_bytes)
            cursor = page.next
            if page.lines:
                return page.lines, upto if cursor is None else page.lines[-1].seq
        return [], upto


def _runs(lines: list[LogLine]) -> list[list[LogLine]]:
    runs: list[list[LogLine]] = []
    for line in lines:
        if runs and runs[-1][-1].seq + 1 == line.seq:
            runs[-1].append(line)
        else:
            runs.append([line])
    return runs
