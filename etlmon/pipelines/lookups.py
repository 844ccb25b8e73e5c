"""Lookup tables: given in the config, or read from a CSV file into a table on disk when they are large."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etlmon.core.pipeline_shapes import Format
from etlmon.core.text import hint
from etlmon.pipelines.csv_source import CsvFile
from etlmon.pipelines.ends import PipelineFailed

MAX_IN_MEMORY = 50_000
Find = Callable[[str], Any]
MISSING = object()
"""What a lookup answers for a key that it does not have."""


def from_table(table: dict[str, Any]) -> Find:
    """A lookup in a table of the config."""
    return lambda key: table.get(key, MISSING)


def from_file(path: Path, key: str, value: str, work: Path, name: str) -> Find:
    """A lookup in a CSV file (UTF-8, with a header): the text of column ``value`` where ``key`` is the key."""
    file = CsvFile(path, Format(), 5000)
    try:
        start = file.read_header()
        for column in (key, value):
            if column not in file.names:
                raise PipelineFailed(
                    f"The lookup file {path.name} has no column {column!r}{hint(column, file.names)}.",
                    "Correct key and value of the lookup's table.",
                )
        at, to = file.names.index(key), file.names.index(value)
        found: dict[str, str] = {}
        disk: sqlite3.Connection | None = None
        for batch in file.batches(start):
            if batch.refused:
                first = batch.refused[0]
                raise PipelineFailed(f"The lookup file {path.name} is damaged in line {first.line}: {first.reason}.")
            found |= dict(zip(batch.column(at), batch.column(to), strict=True))
            if len(found) > MAX_IN_MEMORY:
                disk = _on_disk(disk, found, work, name)
                found = {}
    finally:
        file.close()
    if disk is None:
        return lambda text: found.get(text, MISSING)
    return _finder(_on_disk(disk, found, work, name))


def _on_disk(disk: sqlite3.Connection | None, found: dict[str, str], work: Path, name: str) -> sqlite3.Connection:
    if disk is None:
        path = work / f"lookup-{name}.db"
        path.unlink(missing_ok=True)
        disk = sqlite3.connect(path, isolation_level=None)
        disk.execute("PRAGMA journal_mode = OFF")
        disk.execute("PRAGMA synchronous = OFF")  # made anew by each attempt
        disk.execute("CREATE TABLE found (key TEXT PRIMARY KEY, value TEXT) STRICT, WITHOUT ROWID")
    disk.execute("BEGIN")
    disk.executemany("INSERT OR REPLACE INTO found VALUES (?, ?)", found.items())
    disk.execute("COMMIT")
    return disk


def _finder(disk: sqlite3.Connection) -> Find:
    def find(key: str) -> Any:
        row = disk.execute("SELECT value FROM found WHERE key = ?", (key,)).fetchone()
        return MISSING if row is None else row[0]

    return find
