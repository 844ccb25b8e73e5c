"""Values that may come only once, kept on disk with the record that had each, so that memory does not grow."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

MAX_KEPT = 64
"""Longer values are kept as a digest of 16 bytes."""
_SEEN = """CREATE TABLE IF NOT EXISTS seen (
  place INTEGER NOT NULL, value BLOB NOT NULL, line TEXT NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (place, value)
) STRICT, WITHOUT ROWID"""


class Unique:
    """For each unique column (by its place) the values of all accepted records."""

    def __init__(self, directory: Path) -> None:
        self._db = sqlite3.connect(directory / "unique.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA cache_size = -8000")
        self._db.execute(_SEEN)

    def resume(self, records: int) -> None:
        """Forget what was seen after so many records."""
        self._db.execute("DELETE FROM seen WHERE record >= ?", (records,))
        self._db.execute("BEGIN")

    def known(self, place: int, values: Sequence[str]) -> dict[bytes, str]:
        """Those of ``values`` that were seen before, with where."""
        keys = [key_of(value) for value in values]
        found: dict[bytes, str] = {}
        for at in range(0, len(keys), 500):
            part = keys[at : at + 500]
            marks = ", ".join("?" * len(part))
            query = f"SELECT value, line FROM seen WHERE place = ? AND value IN ({marks})"  # noqa: S608
            found |= dict(self._db.execute(query, (place, *part)).fetchall())
        return found

    def add(self, place: int, seen: dict[bytes, str], record: int) -> None:
        """Keep values, with where each was, as of a record."""
        rows = [(place, key, line, record) for key, line in seen.items()]
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", rows)

    def sync(self) -> None:
        """Bring all to the disk."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def key_of(value: str) -> bytes:
    """A value as it is kept."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"=" + raw if len(raw) <= MAX_KEPT else b"#" + blake2b(raw, digest_size=16).digest()
