"""The schema of main.db, as numbered SQL files that never change after a release; ``user_version`` counts them."""

from __future__ import annotations

import sqlite3
from functools import cache
from importlib import resources


@cache
def scripts() -> tuple[tuple[int, str], ...]:
    """Every migration as (number, SQL), in order."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")]
    return tuple(sorted((int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files))


def newest() -> int:
    """The schema that this program writes."""
    return scripts()[-1][0]


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the schema to ``newest()``, one transaction per step, so that a kill is safe at any point; how many."""
    steps = 0
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in scripts():
        if number > version:
            try:
                connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            steps += 1
    return steps
