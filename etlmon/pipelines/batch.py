"""A batch of records, by column. What is not asked for is not made: what nothing changes is written as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import compress
from typing import Any

import msgspec


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record, as it stands in the rejects file. ``line`` is where it begins, from 1."""

    source: str
    line: int
    column: str | None
    reason: str
    record: Any


class Batch:
    """Records of one source. ``lines`` are the records as text when each is exactly one plain line of CSV.

    ``refused`` are those that are no record of this table (ragged, not decodable); they are not in the columns.
    ``position`` is where the source stands after the batch.
    """

    def __init__(
        self,
        *,
        source: str,
        names: Sequence[str],
        n: int,
        column: Callable[[int], Sequence[Any]],
        line_of: Callable[[int], int],
        position: dict[str, int],
        refused: Iterable[Reject] = (),
        lines: Sequence[str] | None = None,
        records: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        self.source = source
        self.names = names
        self.n = n
        self.column = column
        """The values of one column, by its place."""
        self.line_of = line_of
        """The line on which a record begins."""
        self.position = position
        self.refused = list(refused)
        self.lines = lines
        self.records = records
        """The records as tables, where the source has them so."""

    @property
    def n_read(self) -> int:
        """Records read, refused ones too."""
        return self.n + len(self.refused)

    def reject(self, at: int, column: str | None, reason: str) -> Reject:
        """The record at place ``at``, refused."""
        return Reject(source=self.source, line=self.line_of(at), column=column, reason=reason, record=self.record(at))

    def record(self, at: int) -> dict[str, Any]:
        """One record as a table."""
        if self.records is not None:
            return self.records[at]
        return {name: column[at] for name, column in zip(self.names, self.columns, strict=True)}

    @cached_property
    def columns(self) -> list[Sequence[Any]]:
        """All the columns."""
        return [self.column(place) for place in range(len(self.names))]


class Table:
    """What is to be written: columns of equal length; ``lines`` instead of them when the records are their own text."""

    def __init__(self, columns: Sequence[Sequence[Any]], n: int, lines: Sequence[str] | None = None) -> None:
        self.columns = columns
        self.n = n
        self.lines = lines

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The records, one by one."""
        return zip(*self.columns, strict=True) if self.columns else iter([()] * self.n)

    def without(self, gone: Iterable[int]) -> Table:
        """The table without the records at these places."""
        mask = [True] * self.n
        for at in gone:
            mask[at] = False
        if all(mask):
            return self
        lines = None if self.lines is None else list(compress(self.lines, mask))
        return Table([list(compress(column, mask)) for column in self.columns], sum(mask), lines)
