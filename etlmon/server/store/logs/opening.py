"""How a day file is made and opened, and what is refused. Nothing here decides what to do with a file refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from etlmon.core.errors import StoreRefused
from etlmon.server.store.logs.dayfile import DayFile

APPLICATION_ID = 0x65746C67
VERSION = 1

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE block (
    last_seq INTEGER PRIMARY KEY,        -- blocks never overlap: a place in seq order is one seek
    first_seq INTEGER NOT NULL, append_seq INTEGER NOT NULL, n INTEGER NOT NULL, raw INTEGER NOT NULL,
    first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, grave INTEGER NOT NULL,
    jobs BLOB NOT NULL,                  -- the keys of its jobs, 4 bytes each: skips the body of a block of others
    data BLOB NOT NULL
) STRICT;
CREATE TABLE round (
    last_seq INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL,
    first_chunk INTEGER NOT NULL, last_chunk INTEGER NOT NULL, n INTEGER NOT NULL,
    first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, grave INTEGER NOT NULL
) STRICT;
CREATE TABLE chunk (                     -- without the body: a round's chunks are read by the hundred to be skipped
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER,                         -- the job's key; null when several jobs share the chunk
    first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, grave INTEGER NOT NULL
) STRICT;
CREATE TABLE body (chunk INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE part (                      -- which chunks hold lines of a job
    job INTEGER NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (job, chunk)
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE word USING fts5(text, content='', detail=none, columnsize=0, tokenize='ascii');
INSERT INTO word (word, rank) VALUES ('automerge', 16), ('crisismerge', 64), ('pgsz', 8000);
"""


class Newer(StoreRefused):
    """Written by a later etlmon: nothing is wrong with it, but it is not for us."""


def create(directory: Path, day: str, number: int, prior_seq: int) -> DayFile:
    """A new, empty day file, on disk under its name only when it is whole: a zero-byte one is never ours."""
    path = directory / f"{day}-{number}.db"
    unborn = path.with_name(path.name + ".new")
    unborn.unlink(missing_ok=True)
    os.close(os.open(unborn, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(unborn, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT")
        connection.execute("INSERT INTO meta VALUES ('prior_seq', ?)", (prior_seq,))
    finally:
        connection.close()
    os.rename(unborn, path)
    _sync_directory(directory)
    return open_for_writing(path)


def open_for_writing(path: Path) -> DayFile:
    """The file at ``path``, judged and counted; StoreRefused or sqlite3.Error when it is none of ours or damaged."""
    file = DayFile(path)
    _judge_head(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    file.connection = connection
    try:
        for pragma in (
            "journal_mode=WAL",
            "wal_autocheckpoint=0",
            "secure_delete=OFF",
            "cache_size=-8000",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        _judge_version(file, connection)
        file.recount(connection)
    except BaseException:
        file.close()
        raise
    return file


def open_sealed(path: Path) -> DayFile | None:
    """The file at ``path`` if it is complete, without writing a byte; None when something is left to do in it."""
    file = DayFile(path)
    _judge_head(path)
    if file.wal_size():
        return None
    connection = open_for_reading(path, immutable=True)
    try:
        _judge_version(file, connection)
        file.recount(connection)
    finally:
        connection.close()
    file.sealed = file.complete = file.n_blocks == 0
    return file if file.complete else None


def open_for_reading(path: Path, *, immutable: bool) -> sqlite3.Connection:
    """A connection that can only read; ``immutable`` when nobody writes to the file any more."""
    ending = "&immutable=1" if immutable else ""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{ending}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5,
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _judge_version(file: DayFile, connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise Newer(f"{file.path} was written by a newer etlmon (log schema {version}): upgrade to read it.")


def _judge_head(path: Path) -> None:
    """StoreRefused unless the file begins like an SQLite file that etlmon made for logs."""
    with open(path, "rb") as file:
        head = file.read(100)
    if not head:
        raise StoreRefused(f"{path} is empty: a log file of etlmon never is.")
    if len(head) < 100 or head[:16] != b"SQLite format 3\0":
        raise StoreRefused(f"{path} is not an SQLite file.")
    if int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise StoreRefused(f"{path} is an SQLite file, but not a log file of etlmon.")


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
