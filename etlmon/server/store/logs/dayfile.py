"""One day file: what it counts, and the statements that write to it.

A block holds the lines of one append, all jobs together. A round turns a prefix of the blocks into chunks, one job
each or several short ones, with their words indexed. A chunk counts only once its round's row is there, and the
same transaction removes the blocks: so each line is in exactly one place at every commit.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from etlmon.core.errors import StoreRefused

if TYPE_CHECKING:
    from etlmon.server.store.logs.columns import Columns

logger = logging.getLogger(__name__)
DAY_MS = 86_400_000
NAME = re.compile(r"(\d{8})-(\d{1,6})\.db")
"""The day and a number that grows within it: files sort by both in the order of their lines."""

_FRAMES = 4 * 4096
"""What a block adds to the write-ahead log beside its body: the pages above it and half a page of rest."""
_PUT_BLOCK = "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_CHUNK = (
    "INSERT INTO chunk (job, first_seq, last_seq, first_at, last_at, grave) VALUES (?, ?, ?, ?, ?, ?) RETURNING id"
)


class Span(msgspec.Struct, frozen=True):
    """What can be known of some lines without reading them."""

    first_seq: int
    last_seq: int
    n: int
    raw: int
    first_at: int
    last_at: int
    grave: int

    @classmethod
    def of(cls, columns: Columns) -> Span:
        """What these lines span, in the order of their ``seq``."""
        return cls(
            first_seq=columns.seqs[0],
            last_seq=columns.seqs[-1],
            n=len(columns.seqs),
            raw=columns.text_size(),
            first_at=min(columns.ats),
            last_at=max(columns.ats),
            grave=max(columns.levels),
        )


class Block(msgspec.Struct, frozen=True):
    """A block ready to be written."""

    span: Span
    jobs: bytes
    data: bytes


class Chunk(msgspec.Struct, frozen=True):
    """A chunk ready to be written: ``keys`` of its jobs, its packed body, and the text whose words are indexed."""

    keys: list[int]
    span: Span
    data: bytes
    text: str


class DayFile:
    """A day file and the one connection that writes to it (None once it is sealed and compacted).

    The counts are kept by whoever writes; ``prior_seq`` is the last line's number in the file before this one.
    ``upto_seq``: lines above it are void (main.db was taken back to an earlier state).
    ``void``: appends (their first seq) that were taken back but could not be removed yet.
    ``gone``: dropped by retention. ``sealed``: gets no more lines. ``complete``: sealed and compacted.
    ``damaged``: could not be read or written somewhere.
    """

    def __init__(self, path: Path) -> None:
        found = NAME.fullmatch(path.name)
        if found is None:
            raise StoreRefused(f"{path} is not named like a log file (YYYYMMDD-N.db).")
        self.path = path
        self.day = found[1]
        self.number = int(found[2])
        self.prior_seq = 0
        self.last_seq = 0
        self.upto_seq: int | None = None
        self.void: set[int] = set()
        self._newest = self._before_newest = 0
        self._size, self._grown = 0, sys.maxsize
        self.n_lines = 0
        self.n_uncompacted = 0
        self.n_blocks = 0
        self.uncompacted_bytes = 0
        self.written_bytes = 0
        self.sealed = False
        self.complete = False
        self.gone = False
        self.damaged = False
        self.connection: sqlite3.Connection | None = None

    @property
    def order(self) -> tuple[str, int]:
        """Files sort by this in the order of their lines."""
        return (self.day, self.number)

    @property
    def ends_at(self) -> int:
        """The instant at which the file's day is over: no line in it came later."""
        return int(datetime.strptime(self.day, "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000) + DAY_MS

    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return sum(size_of(companion) for companion in self.companions())

    def report_damage(self, fault: Exception) -> None:
        """Takes note, once, that the file cannot be read or written somewhere: it gets no more lines."""
        if not self.damaged:
            self.damaged = True
            logger.error(
                "A log file is damaged: some of its lines may not be shown, and new ones go to the next file",
                extra={"action": "log_file_damaged", "path": str(self.path), "why": str(fault)},
            )

    def is_below(self, max_bytes: int) -> bool:
        """Whether the file is smaller than ``max_bytes``, or was a moment ago: it looks seldom, being asked often."""
        if self._grown >= max_bytes // 64:
            self._size, self._grown = self.size(), 0
        return self._size < max_bytes

    def companions(self) -> list[Path]:
        """The file and what SQLite keeps beside it."""
        return [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))]

    def write(self) -> sqlite3.Connection:
        """The writing connection; RuntimeError when the file is closed for writing."""
        if self.connection is None:
            raise RuntimeError(f"{self.path} is not open for writing")
        return self.connection

    @contextmanager
    def transaction(self, *, synced: bool) -> Iterator[sqlite3.Connection]:
        """A write transaction, all or nothing; ``synced``: it is on disk when this returns.

        Compaction need not be: what it does is lost whole or kept whole, and any later synced commit keeps it.
        """
        connection = self.write()
        connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def put_blocks(self, blocks: Sequence[Block]) -> None:
        """Writes and syncs one append, and removes with it the appends that are void."""
        first = blocks[0].span.first_seq
        with self.transaction(synced=True) as connection:
            gone = [self._drop(connection, append_seq) for append_seq in self.void]
            connection.executemany(
                _PUT_BLOCK,
                [
                    (s.last_seq, s.first_seq, first, s.n, s.raw, s.first_at, s.last_at, s.grave, block.jobs, block.data)
                    for block in blocks
                    for s in (block.span,)
                ],
            )
        self.void.clear()
        for blocks_gone, n, raw in gone:
            self._count(-blocks_gone, -n, -raw)
        self._count(len(blocks), sum(b.span.n for b in blocks), sum(b.span.raw for b in blocks))
        size = sum(len(b.data) + _FRAMES for b in blocks)
        self.written_bytes += size
        self._grown += size
        self._newest, self._before_newest = first, self.last_seq
        self.last_seq = blocks[-1].span.last_seq

    def void_above(self, head: int, named: Callable[[int], bool] | None) -> int:
        """Makes this file agree with a journal that ends at ``head`` and names appends; how many lines it gave up.

        An append above it was never acknowledged. An append across it, and compacted lines above it, are of a
        main.db that was since replaced by an older one: they stay in the file, but above ``head`` are never shown.
        """
        rows = self.write().execute("SELECT DISTINCT append_seq FROM block").fetchall()
        void = {seq for (seq,) in rows if seq > head or (named is not None and not named(seq))}
        before = self.n_lines
        for seq in void:
            self.drop(seq)
        self.recount(self.write())
        if self.last_seq > head:
            with self.transaction(synced=True) as connection:
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('upto_seq', ?)", (head,))
        self.recount(self.write())
        return before - self.n_lines

    def drop(self, append_seq: int) -> None:
        """Removes the append that begins with ``append_seq``; when that fails it stays void, and unseen."""
        self.void.add(append_seq)
        if append_seq == self._newest:
            self.last_seq = self._before_newest
        with self.transaction(synced=True) as connection:
            blocks, n, raw = self._drop(connection, append_seq)
        self.void.discard(append_seq)
        self._count(-blocks, -n, -raw)

    def _drop(self, connection: sqlite3.Connection, append_seq: int) -> tuple[int, int, int]:
        gone: tuple[int, int, int] = connection.execute(
            "SELECT count(*), coalesce(sum(n), 0), coalesce(sum(raw), 0) FROM block WHERE append_seq = ?", (append_seq,)
        ).fetchone()
        connection.execute("DELETE FROM block WHERE append_seq = ?", (append_seq,))
        return gone

    def _count(self, blocks: int, n: int, raw: int) -> None:
        self.n_blocks += blocks
        self.n_lines += n
        self.n_uncompacted += n
        self.uncompacted_bytes += raw

    def put_chunks(self, chunks: Sequence[Chunk]) -> list[int]:
        """Writes chunks and their words; the chunks' numbers. They do not count before ``finish_round``."""
        ids = []
        with self.transaction(synced=False) as connection:
            for chunk in chunks:
                s = chunk.span
                job = chunk.keys[0] if len(chunk.keys) == 1 else None
                row = (job, s.first_seq, s.last_seq, s.first_at, s.last_at, s.grave)
                number: int = connection.execute(_PUT_CHUNK, row).fetchone()[0]
                connection.execute("INSERT INTO body VALUES (?, ?)", (number, chunk.data))
                connection.execute("INSERT INTO word (rowid, text) VALUES (?, ?)", (number, chunk.text))
                ids.append(number)
        self.written_bytes += sum(3 * len(chunk.data) for chunk in chunks)
        return ids

    def put_parts(self, parts: Sequence[tuple[int, int]]) -> None:
        """Writes which chunks hold lines of which job (by key)."""
        with self.transaction(synced=False) as connection:
            connection.executemany("INSERT OR IGNORE INTO part VALUES (?, ?)", parts)

    def finish_round(self, upto_seq: int, chunks: Sequence[tuple[int, Span]]) -> None:
        """In one commit: the chunks count, and the blocks up to ``upto_seq`` are gone."""
        spans = [span for _, span in chunks]
        with self.transaction(synced=False) as connection:
            gone = connection.execute(
                "SELECT count(*), ifnull(sum(n), 0), ifnull(sum(raw), 0) FROM block WHERE last_seq <= ?", (upto_seq,)
            ).fetchone()
            connection.execute("DELETE FROM block WHERE last_seq <= ?", (upto_seq,))
            if spans:
                row = (
                    max(s.last_seq for s in spans),
                    min(s.first_seq for s in spans),
                    chunks[0][0],
                    chunks[-1][0],
                    sum(s.n for s in spans),
                    min(s.first_at for s in spans),
                    max(s.last_at for s in spans),
                    max(s.grave for s in spans),
                )
                connection.execute("INSERT INTO round VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._count(-gone[0], -gone[1], -gone[2])
        self.n_lines += sum(s.n for s in spans)

    def clear_unfinished(self) -> None:
        """Removes the chunks of a round that was never finished. Their words and parts stay, and lead nowhere:
        a chunk's number is never given twice."""
        connection = self.write()
        last = connection.execute("SELECT ifnull(max(last_chunk), 0) FROM round").fetchone()[0]
        if connection.execute("SELECT ifnull(max(id), 0) FROM chunk").fetchone()[0] > last:
            with self.transaction(synced=False):
                connection.execute("DELETE FROM chunk WHERE id > ?", (last,))
                connection.execute("DELETE FROM body WHERE chunk > ?", (last,))

    def recount(self, connection: sqlite3.Connection) -> None:
        """Reads the counts from the file."""
        n_done, last_done = connection.execute("SELECT ifnull(sum(n), 0), max(last_seq) FROM round").fetchone()
        n, raw, blocks, last = connection.execute(
            "SELECT ifnull(sum(n), 0), ifnull(sum(raw), 0), count(*), max(last_seq) FROM block"
        ).fetchone()
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        if "prior_seq" not in meta:
            raise StoreRefused(f"{self.path} does not say where it begins: it was not made by etlmon.")
        self.prior_seq = meta["prior_seq"]
        self.upto_seq = meta.get("upto_seq")
        self.n_lines = n_done + n
        self.n_uncompacted, self.uncompacted_bytes, self.n_blocks = n, raw, blocks
        self.last_seq = max(self.prior_seq, last_done or 0, last or 0)
        if self.upto_seq is not None:
            self.last_seq = min(self.last_seq, self.upto_seq)

    def wal_size(self) -> int:
        """Bytes of the write-ahead log's file."""
        return size_of(self.path.with_name(self.path.name + "-wal"))

    def checkpoint(self, *, truncate: bool) -> bool:
        """Folds the write-ahead log into the file; whether all of it could be (a reader may hold a part)."""
        mode = "TRUNCATE" if truncate else "RESTART"
        busy: int = self.write().execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0]
        self.written_bytes = 0
        return busy == 0

    def close(self) -> None:
        """Ends writing; SQLite folds the write-ahead log in and removes it when nobody else reads."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def is_damage(fault: sqlite3.DatabaseError) -> bool:
    """Whether the fault is in the file, and not in the disk's state or a limit."""
    return fault.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
