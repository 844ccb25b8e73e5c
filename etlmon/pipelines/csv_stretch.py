"""A stretch of CSV that may hold quotes: read by ``csv``, a few records at a time, with the line of each one known.

A stretch ends where a record ends together with a block. Python's csv never reads further than it must.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice

import msgspec

from etlmon.core.pipeline_shapes import Format
from etlmon.pipelines.blocks import Block

MAX_FIELD = 2_000_000
"""Characters of one field; csv keeps four bytes for each."""
ASK = 16
"""At most so many records are asked for at once, and one alone after some that took a block or more."""
MAX_BLOCKS = 1
"""A batch that took in more further blocks than this is complete."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive records. ``errors``: before which row, up to which line, and why one could not be read."""

    rows: list[list[str]]
    errors: list[tuple[int, int, str]]
    begun: int
    ended: int

    def starts(self) -> tuple[list[int], list[int]]:
        """Before how many lines each row begins, and each that could not be read."""
        if not self.errors and self.ended - self.begun == len(self.rows):
            return list(range(self.begun, self.ended)), []
        rows, unread, at = list[int](), list[int](), self.begun
        for place in range(len(self.rows) + 1):
            while len(unread) < len(self.errors) and self.errors[len(unread)][0] == place:
                upto = self.errors[len(unread)][1]
                unread.append(at)
                at = upto
            if place < len(self.rows):
                rows.append(at)
                at += 1 + sum(map(n_breaks, self.rows[place]))
        return rows, unread


def n_breaks(text: str) -> int:
    """Line ends of any kind within a field."""
    if "\r" in text:
        return text.count("\n") + text.count("\r") - text.count("\r\n")
    return text.count("\n")


class Stretch:
    """Reads from ``block`` on, ``skip`` lines left out, and takes more blocks while records straddle them."""

    def __init__(self, block: Block, skip: int, more: Iterator[Block], form: Format) -> None:
        self._more = more
        self.pulled = 0
        self.escaped = False
        self.has_nul = False
        self._starts: list[tuple[int, Block, int]] = []
        self._n_blocks = 0
        self._ask = 1
        self.reader = csv.reader(
            self._feed(block, skip),
            delimiter=form.delimiter,
            quotechar=form.quotechar or None,
            quoting=csv.QUOTE_MINIMAL if form.quotechar else csv.QUOTE_NONE,
            strict=True,
        )
        self.first = block.line + skip

    def _feed(self, block: Block | None, skip: int) -> Iterator[str]:
        while block is not None:
            lines = list(io.StringIO(block.text, newline=""))
            if skip:
                lines = lines[skip:]
            self._starts = [*self._starts[-MAX_BLOCKS - 2 :], (self.pulled, block, skip)]
            self.pulled += len(lines)
            self._n_blocks += 1
            self.escaped = self.escaped or block.escaped
            self.has_nul = self.has_nul or "\x00" in block.text
            yield from lines
            block, skip = next(self._more, None), 0

    def place(self, line: int) -> tuple[Block, int]:
        """The block that a line of the stretch is in, and how many lines of the block are before it."""
        start, block, skip = next((each for each in reversed(self._starts) if each[0] <= line), self._starts[0])
        line = max(line, start)
        return block, skip + line - start

    @property
    def is_over(self) -> bool:
        """Whether the last record ended where the last block does."""
        return self.pulled > 0 and self.reader.line_num >= self.pulled

    def batches(self, most: int) -> Iterator[Rows]:
        """The records, at most so many at once."""
        while not self.is_over:
            begun = self.reader.line_num
            rows, errors = self._batch(most)
            yield Rows(rows=rows, errors=errors, begun=begun, ended=self.reader.line_num)
            if self.pulled == 0:
                return

    def _batch(self, most: int) -> tuple[list[list[str]], list[tuple[int, int, str]]]:
        rows: list[list[str]] = []
        errors: list[tuple[int, int, str]] = []
        reader, before = self.reader, self._n_blocks
        while len(rows) < most and self._n_blocks - before <= MAX_BLOCKS and not self.is_over:
            ask = max(1, min(self._ask, most - len(rows), self.pulled - reader.line_num))
            blocks = self._n_blocks
            try:
                rows.extend(islice(reader, ask))  # what was read before an error stays
            except csv.Error as fault:
                errors.append((len(rows), reader.line_num, said(fault)))
            self._ask = 1 if self._n_blocks > blocks else min(ASK, self._ask * 2)
            if self.pulled == 0:
                break
        return rows, errors


def said(fault: csv.Error) -> str:
    """csv's words, made plainer."""
    text = str(fault)
    if "field larger" in text:
        return f"a field is longer than {MAX_FIELD} characters: is a quote never closed?"
    if "unexpected end of data" in text:
        return "a quote is never closed"
    if "expected after" in text:
        return "a closing quote is not followed by the delimiter"
    return text
