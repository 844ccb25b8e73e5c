"""Everything that writes log files: appends, discards, rolling to the next file, retention.

One connection writes, used by one thread at a time (``Turn``): by the caller of ``append``, so that an append costs
no change of thread, and by the compaction thread in between.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import zstandard

from etlmon.core.errors import StoreUnavailable
from etlmon.server.store.logs import catalog, opening
from etlmon.server.store.logs.columns import Columns, encode, job_key
from etlmon.server.store.logs.dayfile import Block, DayFile, Span, is_damage
from etlmon.server.store.logs.kept import Kept
from etlmon.server.store.logs.recent import Recent
from etlmon.server.store.logs.settings import BlockRef, LogSettings
from etlmon.server.store.logs.turn import Turn

logger = logging.getLogger(__name__)
_BLOCK_LINES = 8192
_BLOCK_CHARS = 1_000_000
"""The most one block holds: what a reader must unpack for a single line of it."""


class LogWriter:
    """The day files and the pen. ``append`` and ``discard`` are for one thread, the writer of main.db."""

    def __init__(self, directory: Path, settings: LogSettings, now: Callable[[], int]) -> None:
        self.directory = directory
        self.settings = settings
        self.now = now
        self.turn = Turn()
        self.recent = Recent(settings.recent_bytes)
        self.kept = Kept(2 * settings.round_bytes)
        self.readers = catalog.Readers()
        self.files: tuple[DayFile, ...] = ()
        self.unread = 0
        self.settled = 0
        self.work = threading.Event()
        self.relief = threading.Condition()
        self.struggling = False
        self._last: BlockRef | None = None
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)

    def open(self, head: int, named: Callable[[int], bool] | None) -> None:
        """Finds the files and removes from them what no journal row names."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files, self.unread = catalog.find_files(self.directory)
        gone = 0
        for file in files:
            if file.complete and file.last_seq > head:
                file.connection = opening.open_for_writing(file.path).connection
                file.complete = False
            if file.connection is not None:
                gone += file.void_above(head, named)
        if gone:
            logger.info(
                "Log lines that were never acknowledged were removed", extra={"action": "log_lines_voided", "n": gone}
            )
        for file in files:
            file.sealed = file is not files[-1] or file.upto_seq is not None
        self.files = tuple(files)
        self.settled = head
        self.recent.start(head)
        self.work.set()

    def append(self, lines: Columns) -> BlockRef:
        """Writes and syncs ``lines`` (in ``seq`` order); StoreUnavailable, and nothing written, when it cannot.

        They are kept as they are: whoever gives them must not change them any more.
        """
        parts = list(_parts(lines))
        blocks = [self._block(part) for part in parts]
        self._wait_for_relief()
        try:
            with self.turn.first():
                if self._last is not None:
                    self.settle(self._last.last_seq)
                file = self._put(blocks)
        except (sqlite3.Error, OSError) as fault:
            self._last = None
            raise StoreUnavailable(f"The log file cannot be written ({fault}): make room on the disk.") from fault
        first, last = lines.seqs[0], lines.seqs[-1]
        self._last = BlockRef(file.path.name, first, first, last, len(lines.seqs))
        for block, part in zip(blocks, parts, strict=True):
            self.recent.add(part, block.span.raw)
            self.kept.put(file.path, block.span.last_seq, part, block.span.raw)
        if self.is_due(file) or file.written_bytes >= self.settings.checkpoint_bytes:
            self.work.set()
        return self._last

    def discard(self, ref: BlockRef) -> None:
        """Takes back an append whose commit failed; when the disk refuses even that, a later write does it."""
        self.recent.drop(ref.first_seq)
        self.kept.clear()
        self._last = None
        file = next((file for file in self.files if file.path.name == ref.file), None)
        if file is None:
            return
        try:
            with self.turn.first():
                file.drop(ref.first_seq)
        except sqlite3.Error as fault:
            logger.warning(
                "A log block could not be taken back yet: it is hidden, and removed later",
                extra={"action": "log_discard_postponed", "why": str(fault)},
            )

    def settle(self, head: int) -> None:
        """Tells that everything up to ``head`` is committed in main.db, and may be compacted."""
        if head > self.settled:
            self.settled = head
            if any(file.sealed and not file.complete for file in self.files):
                self.work.set()

    def is_due(self, file: DayFile) -> bool:
        """Whether the file's blocks are worth a round of compaction, though it may still grow."""
        return file.uncompacted_bytes >= self.settings.round_bytes or file.n_blocks >= self.settings.round_blocks

    def prune(self, now: int) -> int:
        """Drops whole files, oldest first, until age and bytes hold; how many. A day that is over ends its file."""
        with self.turn.later():
            newest = self.files[-1] if self.files else None
            if newest is not None and newest.n_lines and newest.day < _day(now):
                try:
                    self._roll(_day(now))
                except (sqlite3.Error, OSError) as fault:
                    logger.warning(
                        "The next log file cannot be begun yet",
                        extra={"action": "log_roll_postponed", "why": str(fault)},
                    )
        dropped = 0
        while len(self.files) > 1 and self._is_over(self.files[0], now):
            self._unlink(self.files[0])
            dropped += 1
        return dropped

    def close(self) -> None:
        """Ends writing and reading."""
        with self.turn.later():
            self.readers.close()
            for file in self.files:
                file.close()

    def _is_over(self, oldest: DayFile, now: int) -> bool:
        if not oldest.sealed:
            return False
        too_old = oldest.ends_at + self.settings.retention_ms <= now
        return too_old or sum(file.size() for file in self.files) > self.settings.max_bytes

    def _unlink(self, file: DayFile) -> None:
        with self.turn.later():
            self.files = tuple(other for other in self.files if other is not file)
            file.gone = True
            file.close()
        self.readers.forget(file.path, complete=True)
        self.readers.forget(file.path, complete=False)
        for companion in file.companions():
            companion.unlink(missing_ok=True)
        logger.info(
            "A log file was dropped by retention",
            extra={"action": "log_file_dropped", "path": str(file.path), "n": file.n_lines},
        )

    def _put(self, blocks: list[Block]) -> DayFile:
        file = self._current()
        try:
            file.put_blocks(blocks)
        except sqlite3.DatabaseError as fault:
            if not is_damage(fault):
                raise
            file.report_damage(fault)
            file = self._roll(_day(self.now()))
            file.put_blocks(blocks)
        return file

    def _current(self) -> DayFile:
        newest = self.files[-1] if self.files else None
        today = _day(self.now())
        if newest is None or newest.sealed or newest.damaged or newest.day < today:
            return self._roll(today)
        return newest if newest.is_below(self.settings.file_bytes) else self._roll(today)

    def _roll(self, today: str) -> DayFile:
        """A new file after the newest, which is sealed. A clock that went back does not take the order back."""
        newest = self.files[-1] if self.files else None
        day = today if newest is None else max(today, newest.day)
        number = catalog.next_number(self.directory, day)
        file = opening.create(self.directory, day, number, newest.last_seq if newest is not None else 0)
        if newest is not None:
            newest.sealed = True
            self.work.set()
        self.files = (*self.files, file)
        return file

    def _block(self, columns: Columns) -> Block:
        keys = {job_key(context[0]) for context in columns.contexts}
        return Block(Span.of(columns), array("I", sorted(keys)).tobytes(), encode(columns, self._compressor))

    def _wait_for_relief(self) -> None:
        """Holds an append up while compaction is far behind; never for long, and never when it fails."""
        s = self.settings
        if self.files and self.files[-1].uncompacted_bytes >= s.backlog_bytes and not self.struggling:
            with self.relief:
                self.relief.wait_for(
                    lambda: self.struggling or self.files[-1].uncompacted_bytes < s.backlog_bytes,
                    s.backlog_wait_ms / 1000,
                )


def _parts(lines: Columns) -> Iterator[Columns]:
    """``lines`` in pieces that make one block each."""
    n = len(lines.seqs)
    if n > 1 and (n > _BLOCK_LINES or sum(map(len, lines.messages)) > _BLOCK_CHARS):
        for piece in (lines.slice(0, n // 2), lines.slice(n // 2, n)):
            piece.drop_unused_contexts()
            yield from _parts(piece)
    else:
        yield lines


def _day(now: int) -> str:
    return datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%d")
