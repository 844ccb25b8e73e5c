"""A SQLite table: filled as a staging table of the same file, put in the target's place in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from etlmon.pipelines.batch import Table
from etlmon.pipelines.ends import PipelineFailed

_AFFINITY = {"integer": "INTEGER", "number": "REAL", "boolean": "INTEGER"}
BUSY_S = 30
LARGEST = 2**63


class SqliteSink:
    """The records in order, as rows 1, 2, 3 … of the staging table until they are moved."""

    typed = True

    def __init__(self, target: Path, table: str, key: str, *, append: bool) -> None:
        self._target = target
        self._table = table
        self._staging = f"_etlmon_staging_{key}"
        self._append = append
        self._db: sqlite3.Connection | None = None
        self._insert = ""
        self._rows = 0

    @property
    def db(self) -> sqlite3.Connection:
        """The open database."""
        if self._db is None:
            self._db = sqlite3.connect(self._target, timeout=BUSY_S, isolation_level=None)
            self._db.execute("PRAGMA cache_size = -8000")
        return self._db

    def open(self, names: Sequence[str], kinds: Sequence[str | None], state: dict[str, int]) -> None:
        """Begin with an empty staging table, or cut it back to what the checkpoint counted."""
        self._rows = state.get("rows", 0)
        columns = ", ".join(
            f"{quoted(name)} {_AFFINITY.get(kind or '', 'TEXT' if kind else '')}".rstrip()
            for name, kind in zip(names, kinds, strict=True)
        )
        with_columns = f"CREATE TABLE {quoted(self._staging)} ({columns})"
        if not state:
            self._check_target(names)
            self.db.execute(f"DROP TABLE IF EXISTS {quoted(self._staging)}")
            self.db.execute(with_columns)
        else:
            self.db.execute(f"DELETE FROM {quoted(self._staging)} WHERE rowid > ?", (self._rows,))  # noqa: S608
        marks = ", ".join("?" * len(names))
        self._insert = f"INSERT INTO {quoted(self._staging)} VALUES ({marks})"  # noqa: S608
        self.db.execute("BEGIN")

    def _check_target(self, names: Sequence[str]) -> None:
        folded = [name.lower() for name in names]
        twice = next((name for name in folded if folded.count(name) > 1), None)
        if twice is not None:
            raise PipelineFailed(
                f"Two columns are called {twice!r}, but for their case: SQLite cannot tell them apart.",
                "Rename one of them.",
            )
        there = self._columns_of(self._table)
        if self._append and there and not set(folded) <= {name.lower() for name in there}:
            missing = ", ".join(name for name in names if name.lower() not in {each.lower() for each in there})
            raise PipelineFailed(
                f"The table {self._table} of {self._target.name} has no column {missing}.",
                "Add the column, or leave it out of the output.",
            )

    def _columns_of(self, table: str) -> list[str]:
        return [row[1] for row in self.db.execute(f"PRAGMA table_info({quoted(table)})")]

    def write(self, table: Table) -> None:
        """Add records."""
        rows = [tuple(map(_stored, row)) for row in table.rows()]
        self.db.executemany(self._insert, rows)
        self._rows += len(rows)

    def sync(self) -> dict[str, int]:
        """Commit."""
        self.db.execute("COMMIT")
        self.db.execute("BEGIN")
        return {"rows": self._rows}

    def seal(self) -> None:
        """Nothing more comes."""
        self.db.execute("COMMIT")

    def place(self) -> None:
        """One transaction; once it was done there is no staging table any more."""
        db, target, staging = self.db, quoted(self._table), quoted(self._staging)
        db.execute("BEGIN IMMEDIATE")
        try:
            names, there = self._columns_of(self._staging), self._columns_of(self._table)
            same = {name.lower() for name in names} == {name.lower() for name in there}
            if names and there and (self._append or same):
                listed = ", ".join(map(quoted, names))
                if not self._append:
                    db.execute(f"DELETE FROM {target}")  # noqa: S608 - its indexes and constraints stay
                db.execute(f"INSERT INTO {target} ({listed}) SELECT {listed} FROM {staging} ORDER BY rowid")  # noqa: S608
                db.execute(f"DROP TABLE {staging}")
            elif names:
                db.execute(f"DROP TABLE IF EXISTS {target}")
                db.execute(f"ALTER TABLE {staging} RENAME TO {target}")
            db.execute("COMMIT")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def discard(self) -> None:
        """Remove the staging table; a file that held nothing else goes as well."""
        if self._db is None and not self._target.exists():
            return
        try:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self.db.execute(f"DROP TABLE IF EXISTS {quoted(self._staging)}")
            empty = not self.db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        finally:
            self._close()
        if empty:
            self._target.unlink(missing_ok=True)


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _stored(value: Any) -> Any:
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return str(value)
    return value
