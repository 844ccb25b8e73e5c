"""A SQLite table or query as batches, read only, in one view of the data from beginning to end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from etlmon.core.pipeline_shapes import Source
from etlmon.pipelines.batch import Batch, Reject
from etlmon.pipelines.ends import PipelineFailed
from etlmon.pipelines.sqlite_sink import quoted

FETCH = 500
"""Rows may be large: no more are held at once."""


class SqliteRows:
    """The rows of one table or query. A position is how many rows were read."""

    def __init__(self, path: Path, config: Source, batch_rows: int) -> None:
        self._path = path
        self.names: tuple[str, ...] = ()
        self.bytes_read = 0
        self._most = min(FETCH, batch_rows)
        self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
        self._db.execute("PRAGMA query_only = 1")
        self._db.set_authorizer(_only_reading)
        self._db.text_factory = bytes
        self._query = config.query or f"SELECT * FROM {quoted(config.table)}"  # noqa: S608
        self.total: int | None = None
        try:
            self._db.execute("BEGIN")
            if config.table:
                self.total = self._db.execute(f"SELECT count(*) FROM {quoted(config.table)}").fetchone()[0]  # noqa: S608
        except sqlite3.Error as fault:
            self.close()
            raise self._failed(fault) from None

    def _failed(self, fault: sqlite3.Error) -> PipelineFailed:
        return PipelineFailed(
            f"{self._path.name} cannot be read: {fault}.",
            "Check source.table or source.query against the database; a query may only read.",
        )

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    def read_header(self) -> dict[str, int]:
        """Learn the columns."""
        try:
            cursor = self._db.execute(self._query)
        except (sqlite3.Error, sqlite3.Warning) as fault:
            raise self._failed(sqlite3.Error(str(fault))) from None
        names = [each[0] for each in cursor.description or ()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if not names or twice is not None:
            why = "gives no rows" if not names else f"names {twice!r} more than once"
            raise PipelineFailed(f"The query {why}.", "Name each column by AS.")
        self.names = tuple(names)
        cursor.close()
        return {}

    def batches(self, position: dict[str, int]) -> Iterator[Batch]:
        """The rows from a position on."""
        begun = position.get("row", 0)
        cursor = self._db.execute(self._query)
        left = begun
        while left > 0 and (skipped := cursor.fetchmany(min(left, FETCH))):
            left -= len(skipped)
        while True:
            try:
                rows = cursor.fetchmany(self._most)
            except sqlite3.Error as fault:
                raise self._failed(fault) from None
            if not rows:
                return
            yield self._batch(rows, begun)
            begun += len(rows)

    def _batch(self, rows: list[tuple[Any, ...]], begun: int) -> Batch:
        refused: list[Reject] = []
        good: list[list[Any]] = []
        lines: list[int] = []
        for line, row in enumerate(rows, begun + 1):
            values = [_decoded(value) for value in row]
            bad = next((at for at, value in enumerate(values) if isinstance(value, bytes)), None)
            if bad is None:
                good.append(values)
                lines.append(line)
                continue
            shown = {
                name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
                for name, value in zip(self.names, values, strict=True)
            }
            why = "is not text"
            refused.append(Reject(source=self._path.name, line=line, column=self.names[bad], reason=why, record=shown))
        columns = list(zip(*good, strict=True)) if good else [()] * len(self.names)
        return Batch(
            source=self._path.name,
            names=self.names,
            n=len(good),
            column=columns.__getitem__,
            line_of=lines.__getitem__,
            position={"row": begun + len(rows)},
            refused=refused,
        )


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _only_reading(action: int, *names: str | None) -> int:
    """No ATTACH (other files), no writing, no pragma."""
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
    if action == sqlite3.SQLITE_TRANSACTION or action in allowed:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
