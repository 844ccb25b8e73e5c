"""The lines of a round sorted into chunks, one job each where a job has enough. Pure: columns in, chunks out."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import itemgetter

import zstandard

from etlmon.core.words import index_text
from etlmon.server.store.logs.columns import Columns, Context, encode, job_key
from etlmon.server.store.logs.dayfile import Chunk, Span

_SORTED_AT_ONCE = 8192
"""Lines sorted in one call: a call holds the interpreter, and with it the event loop, for about 2 ms."""


def build(blocks: Iterable[Columns], chunk_bytes: int) -> Iterator[Chunk]:
    """The chunks of a round. Long jobs have chunks of their own, short ones share; lines are in seq order in each."""
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    jobs = _Jobs()
    for columns in blocks:
        jobs.add(columns)
    small: list[Columns] = []
    small_size = 0
    for columns in jobs.sorted():
        sizes = list(accumulate(map(len, columns.messages)))
        if sizes[-1] >= chunk_bytes // 4:
            for piece in _cut(columns, sizes, chunk_bytes):
                yield _chunk(piece, compressor)
            continue
        small.append(columns)
        small_size += sizes[-1]
        if small_size >= chunk_bytes:
            yield _chunk(_merged(small), compressor)
            small, small_size = [], 0
    if small:
        yield _chunk(_merged(small), compressor)


class _Jobs:
    """Lines gathered per job. Contexts have one number throughout, so that comparing them is comparing integers."""

    def __init__(self) -> None:
        self._contexts: list[Context] = []
        self._numbers: dict[Context, int] = {}
        self._job_of: list[int] = []
        self._job_numbers: dict[str, int] = {}
        self._jobs: list[Columns] = []
        self._group = self._empty()

    def add(self, columns: Columns) -> None:
        """Takes the lines of one block."""
        self._group.extend(columns, columns.renumbered(list(map(self._number, columns.contexts))))
        if len(self._group.seqs) >= _SORTED_AT_ONCE:
            self._scatter()

    def sorted(self) -> Iterator[Columns]:
        """Each job's lines, the job that spoke first first; what was given out is let go of."""
        self._scatter()
        self._jobs.sort(key=lambda columns: columns.seqs[0], reverse=True)
        while self._jobs:
            yield self._jobs.pop()

    def _scatter(self) -> None:
        """Appends each line to its job's; by one sort, since a call in C costs a tenth of a loop."""
        lines, self._group = self._group, self._empty()
        jobs = list(map(self._job_of.__getitem__, lines.which))
        counts = Counter(jobs)
        if len(counts) > 1:
            lines = _picked(lines, sorted(range(len(jobs)), key=jobs.__getitem__))
        start = 0
        for job in sorted(counts):
            end = start + counts[job]
            piece = lines.slice(start, end)
            self._jobs[job].extend(piece, piece.which)
            start = end

    def _number(self, context: Context) -> int:
        number = self._numbers.get(context)
        if number is None:
            number = self._numbers[context] = len(self._contexts)
            self._contexts.append(context)
            job = self._job_numbers.setdefault(context[0], len(self._jobs))
            if job == len(self._jobs):
                self._jobs.append(self._empty())
            self._job_of.append(job)
        return number

    def _empty(self) -> Columns:
        return Columns(self._contexts, [], [], [], [], [], None)


def _cut(columns: Columns, sizes: list[int], chunk_bytes: int) -> Iterator[Columns]:
    """``columns`` in equal pieces of about ``chunk_bytes`` text; ``sizes`` are the lines' running totals."""
    pieces = max(1, round(sizes[-1] / chunk_bytes))
    start = 0
    for piece in range(1, pieces + 1):
        end = len(sizes) if piece == pieces else bisect_right(sizes, sizes[-1] * piece // pieces)
        if end > start:
            yield columns.slice(start, end)
            start = end


def _merged(several: list[Columns]) -> Columns:
    if len(several) == 1:
        return several[0]
    together = Columns(several[0].contexts, [], [], [], [], [], None)
    for columns in several:
        together.extend(columns, columns.which)
    return _picked(together, sorted(range(len(together.seqs)), key=together.seqs.__getitem__))


def _chunk(columns: Columns, compressor: zstandard.ZstdCompressor) -> Chunk:
    span = Span.of(columns)
    columns.drop_unused_contexts()
    keys = sorted({job_key(context[0]) for context in columns.contexts})
    return Chunk(keys, span, encode(columns, compressor), index_text(columns.messages))


def _picked(columns: Columns, order: list[int]) -> Columns:
    """The lines of ``columns`` at the places in ``order`` (two or more)."""
    pick = itemgetter(*order)
    return Columns(
        columns.contexts,
        list(pick(columns.which)),
        list(pick(columns.seqs)),
        list(pick(columns.ats)),
        list(pick(columns.levels)),
        list(pick(columns.messages)),
        None if columns.fields is None else list(pick(columns.fields)),
    )
