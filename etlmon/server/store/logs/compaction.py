"""From blocks to chunks: a round takes the oldest settled blocks and writes their lines again, sorted by job.

The thinking (unpack, sort, pack) is done without the writing connection; the writing in slices of some
milliseconds, between appends. Until the last one, which adds the round's row and removes the blocks, nothing that
was written counts; what a crash leaves of it is removed before the next round.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import zstandard

from etlmon.server.store.logs.chunks import build
from etlmon.server.store.logs.columns import Columns, decode
from etlmon.server.store.logs.dayfile import Chunk, DayFile, Span, is_damage
from etlmon.server.store.logs.writer import LogWriter

logger = logging.getLogger(__name__)
_MIN_BATCH, _MAX_BATCH = 6, 32
"""Chunks written in one slice. Fewer make more, smaller segments of the word index, which cost more to merge."""
_PARTS_AT_ONCE = 2000
_WAL_BYTES = 64_000_000
"""A write-ahead log larger than this is cut off, not only used again."""
_AGAIN_S = 1.0
"""When to look again at what was kept, and at a file that a reader did not let us complete."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class _GivenUp(Exception):
    """The file was dropped, or the store is closing."""


class Compaction:
    """The one thread that compacts, completes and checkpoints log files, whenever ``writer.work`` is set."""

    def __init__(self, writer: LogWriter) -> None:
        self.damaged = 0
        self._writer = writer
        self._again = False
        self._batch = _MIN_BATCH
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="etlmon-logs", daemon=True)
        self._decompressor = zstandard.ZstdDecompressor()

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the slice at hand; what is not compacted stays in blocks."""
        self._stop.set()
        self._writer.work.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            self._writer.work.wait(_AGAIN_S if self._writer.kept or self._again else None)
            self._writer.work.clear()
            self._again = False
            self._writer.kept.fade()
            try:
                while not self._stop.is_set() and self.run_once():
                    pass
                pause_s = _FIRST_PAUSE_S
                self._writer.struggling = False
            except (sqlite3.Error, OSError) as fault:
                self._struggle(fault, pause_s)
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._writer.work.set()

    def _struggle(self, fault: Exception, pause_s: float) -> None:
        if not self._writer.struggling:
            logger.warning(
                "Log lines cannot be compacted now; they stay readable, and it is tried again",
                extra={"action": "log_compaction_failed", "why": str(fault), "pause_s": pause_s},
            )
        self._writer.struggling = True
        self._relieve()

    def run_once(self) -> bool:
        """Does the most pressing piece of work; whether there was one."""
        for file in self._writer.files:
            if file.complete or file.damaged:
                continue
            try:
                if self._work_on(file):
                    return True
            except _GivenUp:
                continue
            except sqlite3.DatabaseError as fault:
                if not file.gone:
                    if not is_damage(fault):
                        raise
                    file.report_damage(fault)
        return False

    def _work_on(self, file: DayFile) -> bool:
        if file.n_blocks and (file.sealed or self._writer.is_due(file)) and self._round(file):
            return True
        if file.sealed and not file.n_blocks:
            return self._complete(file)
        if file.written_bytes >= self._writer.settings.checkpoint_bytes:
            self._checkpoint(file)
            return True
        return False

    def _round(self, file: DayFile) -> bool:
        with self._slice(file):
            for append_seq in list(file.void):
                file.drop(append_seq)
            file.clear_unfinished()
        blocks = self._blocks(file)
        if not blocks:
            return False
        chunks = build(self._columns(file, blocks), self._writer.settings.chunk_bytes)
        written: list[tuple[int, Span]] = []
        parts: list[tuple[int, int]] = []
        for batch in self._batches(chunks):
            started = time.monotonic()
            with self._slice(file):
                ids = file.put_chunks(batch)
            written += [(number, chunk.span) for number, chunk in zip(ids, batch, strict=True)]
            parts += [(key, number) for number, chunk in zip(ids, batch, strict=True) for key in chunk.keys]
            self._pace((time.monotonic() - started) * 1000)
        parts.sort()
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            with self._slice(file):
                file.put_parts(parts[start : start + _PARTS_AT_ONCE])
        with self._slice(file):
            file.finish_round(blocks[-1][0], written)
        self._relieve()
        return True

    @contextmanager
    def _slice(self, file: DayFile) -> Iterator[None]:
        """The writing connection for some milliseconds; _GivenUp when the file is gone or the store closes."""
        with self._writer.turn.later():
            if file.gone or self._stop.is_set():
                raise _GivenUp
            yield

    def _blocks(self, file: DayFile) -> list[tuple[int, bytes]]:
        blocks: list[tuple[int, bytes]] = []
        size = 0
        with self._writer.readers.reading(file) as connection:
            rows = connection.execute(
                "SELECT last_seq, raw, data FROM block WHERE last_seq <= ? ORDER BY last_seq", (self._writer.settled,)
            )
            for last_seq, raw, data in rows:
                blocks.append((last_seq, data))
                size += raw
                if size >= self._writer.settings.round_bytes:
                    break
            rows.close()
        return blocks

    def _columns(self, file: DayFile, blocks: list[tuple[int, bytes]]) -> Iterator[Columns]:
        for last_seq, data in blocks:
            kept = self._writer.kept.take(file.path, last_seq)
            if kept is not None:
                yield kept
                continue
            try:
                yield decode(data, self._decompressor).columns()
            except (zstandard.ZstdError, msgspec.MsgspecError) as fault:
                self.damaged += 1
                logger.error(
                    "A log block is damaged: its lines are lost",
                    extra={"action": "log_block_damaged", "last_seq": last_seq, "why": str(fault)},
                )

    def _batches(self, chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
        batch: list[Chunk] = []
        for chunk in chunks:
            batch.append(chunk)
            if len(batch) >= self._batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _pace(self, took_ms: float) -> None:
        """Fits the next batches to the time that a slice may take on this machine, now."""
        if took_ms > self._writer.settings.slice_ms:
            self._batch = max(_MIN_BATCH, self._batch // 2)
        elif took_ms < self._writer.settings.slice_ms / 2:
            self._batch = min(_MAX_BATCH, self._batch + 1)

    def _complete(self, file: DayFile) -> bool:
        """Ends writing to a file for good. Not while a reader holds a part of the write-ahead log back: who opens
        the file as one that never changes would not see that part."""
        with self._slice(file):
            if not file.checkpoint(truncate=True):
                self._again = True
                return False
            file.complete = True
            self._writer.readers.forget(file.path, complete=False)
            file.close()
        return True

    def _checkpoint(self, file: DayFile) -> None:
        with self._slice(file):
            file.checkpoint(truncate=file.wal_size() >= _WAL_BYTES)

    def _relieve(self) -> None:
        with self._writer.relief:
            self._writer.relief.notify_all()
