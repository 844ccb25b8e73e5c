"""Searching one day file: step by step through rounds and blocks, in seq order or against it.

Each step reads in one short transaction what holds the next lines, then lets go of it: a search never pins the
write-ahead log. Rounds and blocks do not overlap, and compaction moves lines from blocks to a round in one commit,
so a place in seq order is all that a step needs to know of the last one.
"""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_left, bisect_right
from operator import itemgetter

import msgspec
import zstandard

from etlmon.core.words import match_expression
from etlmon.server.store.logs.columns import Body, decode
from etlmon.server.store.logs.query import MAX_SEQ, Matcher

_STEP_BYTES = 1_000_000
_FEW_JOBS = 64
"""Up to so many jobs their chunks are looked up one by one; beyond, a round's chunks are read and compared."""

_STEP_BLOCKS = 128
_ROUNDS = """SELECT first_seq, last_seq, first_chunk, last_chunk FROM round
             WHERE last_seq > :low AND first_seq < :high
               AND last_seq <= ifnull((SELECT min(last_seq) FROM round WHERE last_seq >= :high), 9223372036854775807)
               AND grave >= :level AND last_at >= :since AND first_at < :until {of_jobs}
             ORDER BY last_seq {direction}"""
_OF_JOBS = "AND EXISTS (SELECT 1 FROM part WHERE job IN ({keys}) AND chunk BETWEEN first_chunk AND last_chunk)"
_BLOCKS = """SELECT first_seq, last_seq, append_seq, grave, first_at, last_at, jobs FROM block
             WHERE last_seq > :low AND first_seq < :high
               AND last_seq <= ifnull((SELECT min(last_seq) FROM block WHERE last_seq >= :high), 9223372036854775807)
             ORDER BY last_seq {direction}"""
_CHUNKS = """SELECT id, first_seq, last_seq, job FROM chunk
             WHERE id BETWEEN :first AND :last AND last_seq > :low AND first_seq < :high
               AND grave >= :level AND last_at >= :since AND first_at < :until"""
_PARTS = "SELECT chunk FROM part WHERE job IN ({keys}) AND chunk BETWEEN ? AND ?"
_ANY_PART = "SELECT 1 FROM part WHERE job IN ({keys}) LIMIT 1"

_seq = itemgetter(0)
_local = threading.local()


class Source(msgspec.Struct, frozen=True):
    """A body that may hold matches: ``data`` of a block, read already, or the number of a chunk, still to be read."""

    first_seq: int
    last_seq: int
    chunk: int
    data: bytes | None


class Step(msgspec.Struct, frozen=True):
    """The next bodies, and the seq up to which (down to which) the file is done once they are searched."""

    sources: list[Source]
    reached: int


Hit = tuple[int, Body, int]
"""A line found: its ``seq``, and its place in a body."""


class FileScan:
    """One query over one day file; ``void`` are the appends (their first seq) that were taken back."""

    def __init__(self, matcher: Matcher, void: frozenset[int]) -> None:
        self.matcher = matcher
        self.void = void
        self.connection: sqlite3.Connection
        self.damaged = 0
        self._backwards = matcher.query.backwards
        self._direction = "DESC" if self._backwards else "ASC"
        q = matcher.query
        self._bounds = {
            "level": q.level or 0,
            "since": -MAX_SEQ if q.since is None else q.since,
            "until": MAX_SEQ if q.until is None else q.until,
        }
        few = matcher.keys is not None and len(matcher.keys) <= _FEW_JOBS
        self._few_keys = ", ".join(map(str, matcher.keys)) if few and matcher.keys is not None else None
        self._candidates: list[int] = []
        self._indexed_upto = 0

    def step(self, low: int, high: int) -> Step | None:
        """What may hold the next matches with low < seq < high; None when the file has no more of them."""
        looks = (self._in_blocks, self._in_rounds) if self._backwards else (self._in_rounds, self._in_blocks)
        self.connection.execute("BEGIN")
        try:
            return looks[0](low, high) or looks[1](low, high)
        finally:
            self.connection.execute("COMMIT")

    def search(self, step: Step, low: int, high: int, most: int) -> list[Hit]:
        """The first ``most`` matches of the step's bodies, in the query's direction."""
        backwards = self._backwards
        found: list[Hit] = []
        enough = most
        for source in sorted(step.sources, key=lambda s: -s.last_seq if backwards else s.first_seq):
            if source.last_seq <= low or source.first_seq >= high:
                continue
            found += self._hits(source, low, high, most)
            if len(found) >= enough:
                found.sort(key=_seq, reverse=backwards)
                del found[most:]
                enough = most + most // 4 + 1  # the worst of these bounds what is looked at next; not at each source
                low, high = (found[-1][0], high) if backwards else (low, found[-1][0])
        found.sort(key=_seq, reverse=backwards)
        return found[:most]

    def _in_rounds(self, low: int, high: int) -> Step | None:
        of_jobs = ""
        if self._few_keys is not None:
            if self.connection.execute(_ANY_PART.format(keys=self._few_keys)).fetchone() is None:
                return None
            of_jobs = _OF_JOBS.format(keys=self._few_keys)
        rows = self.connection.execute(
            _ROUNDS.format(of_jobs=of_jobs, direction=self._direction), {"low": low, "high": high, **self._bounds}
        )
        for first_seq, last_seq, first_chunk, last_chunk in rows:
            sources = self._chunks(first_chunk, last_chunk, low, high)
            if sources:
                rows.close()
                return Step(sources, first_seq if self._backwards else last_seq)
        return None

    def _chunks(self, first: int, last: int, low: int, high: int) -> list[Source]:
        wanted = self._with_words(first, last)
        keys = self.matcher.keys
        if self._few_keys is not None and wanted != set():
            parts = {chunk for (chunk,) in self.connection.execute(_PARTS.format(keys=self._few_keys), (first, last))}
            wanted = parts if wanted is None else wanted & parts
            keys = None
        if wanted is not None:
            if not wanted:
                return []
            first, last = min(wanted), max(wanted)
        rows = self.connection.execute(
            _CHUNKS, {"first": first, "last": last, "low": low, "high": high, **self._bounds}
        )
        return [
            Source(first_seq, last_seq, chunk, None)
            for chunk, first_seq, last_seq, job in rows
            if (wanted is None or chunk in wanted) and (keys is None or job is None or job in keys)
        ]

    def _with_words(self, first: int, last: int) -> set[int] | None:
        """The chunks from ``first`` to ``last`` that hold every word asked for; None when none was asked for."""
        if not self.matcher.words:
            return None
        if last > self._indexed_upto:
            found = self.connection.execute(
                "SELECT rowid FROM word WHERE word MATCH ?", (match_expression(self.matcher.words),)
            )
            self._candidates = [chunk for (chunk,) in found]
            self._indexed_upto = self.connection.execute("SELECT max(last_chunk) FROM round").fetchone()[0]
        return set(self._candidates[bisect_left(self._candidates, first) : bisect_right(self._candidates, last)])

    def _in_blocks(self, low: int, high: int) -> Step | None:
        rows = self.connection.execute(_BLOCKS.format(direction=self._direction), {"low": low, "high": high})
        sources: list[Source] = []
        read = 0
        for first_seq, last_seq, append_seq, grave, first_at, last_at, jobs in rows:
            if (
                append_seq in self.void
                or not self.matcher.may_hold(grave, first_at, last_at)
                or not self.matcher.concerns(jobs)
            ):
                continue
            data = self.connection.execute("SELECT data FROM block WHERE last_seq = ?", (last_seq,)).fetchone()[0]
            sources.append(Source(first_seq, last_seq, 0, data))
            read += len(data)
            if read >= _STEP_BYTES or len(sources) >= _STEP_BLOCKS:
                break
        if not sources:
            return None
        return Step(sources, sources[-1].first_seq if self._backwards else sources[-1].last_seq)

    def _hits(self, source: Source, low: int, high: int, most: int) -> list[Hit]:
        data = source.data
        if data is None:
            row = self.connection.execute("SELECT data FROM body WHERE chunk = ?", (source.chunk,)).fetchone()
            data = b"" if row is None else row[0]
        try:
            body = decode(data, _decompressor())
            if not self.matcher.may_match(body):
                return []
            seqs = body.seqs
            return [(seqs[place], body, place) for place in self.matcher.places(body, low, high, most)]
        except (zstandard.ZstdError, msgspec.MsgspecError):
            self.damaged += 1
            return []


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's own: zstandard's contexts are not for two threads at once."""
    try:
        mine: zstandard.ZstdDecompressor = _local.decompressor
    except AttributeError:
        mine = _local.decompressor = zstandard.ZstdDecompressor()
    return mine
