"""The day files of a directory: found, judged, set aside when they cannot be read, and read through few connections."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etlmon.core.errors import StoreRefused
from etlmon.server.store.logs.dayfile import NAME, DayFile
from etlmon.server.store.logs.opening import Newer, open_for_reading, open_for_writing, open_sealed

logger = logging.getLogger(__name__)
_IDLE = 3
_NOT_THE_FILE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Faults of the disk, the rights or another process: no file is set aside for these."""


class Readers:
    """Idle reading connections, at most three to a file, and none to a file that is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[Path, bool], list[sqlite3.Connection]] = {}
        self._gone: set[tuple[Path, bool]] = set()

    @contextmanager
    def reading(self, file: DayFile) -> Iterator[sqlite3.Connection]:
        """A reading connection for one thread's use."""
        kind = (file.path, file.complete)
        with self._lock:
            idle = self._idle.get(kind)
            connection = idle.pop() if idle else None
        if connection is None:
            connection = open_for_reading(file.path, immutable=file.complete)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            idle = self._idle.setdefault(kind, [])
            if kind not in self._gone and len(idle) < _IDLE:
                idle.append(connection)
                return
        connection.close()

    def forget(self, path: Path, *, complete: bool) -> None:
        """Closes what is open to a file in that state, at once or when given back: the disk space comes free."""
        kind = (path, complete)
        with self._lock:
            self._gone.add(kind)
            idle = self._idle.pop(kind, [])
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Closes all."""
        for path, complete in list(self._idle):
            self.forget(path, complete=complete)


def find_files(directory: Path) -> tuple[list[DayFile], int]:
    """The day files in the order of their lines, and how many cannot be read.

    The newest, and those with lines still to be compacted, are open for writing.
    """
    for unborn in directory.glob("*.db.new*"):
        unborn.unlink(missing_ok=True)
    files: list[DayFile] = []
    unread = sum(1 for _ in directory.glob("*.db.corrupt"))
    paths = sorted(
        (path for path in directory.glob("*.db") if NAME.fullmatch(path.name)), key=lambda p: DayFile(p).order
    )
    for path in paths:
        file = _open(path, newest=path == paths[-1])
        if file is None:
            unread += 1
        else:
            files.append(file)
    return files, unread


def next_number(directory: Path, day: str) -> int:
    """The first number of that day that no file, readable or not, has had."""
    names = (NAME.match(path.name) for path in directory.iterdir())
    return 1 + max((int(found[2]) for found in names if found and found[1] == day), default=-1)


def _open(path: Path, *, newest: bool) -> DayFile | None:
    try:
        if not newest:
            sealed = open_sealed(path)
            if sealed is not None:
                return sealed
        return open_for_writing(path)
    except Newer as fault:
        logger.warning(
            "A log file is newer than this etlmon and was left alone",
            extra={"action": "log_file_newer", "path": str(path), "why": fault.detail},
        )
    except StoreRefused as fault:
        set_aside(path, fault.detail)
    except (sqlite3.DatabaseError, OSError) as fault:
        if isinstance(fault, OSError) or fault.sqlite_errorcode & 0xFF in _NOT_THE_FILE:
            raise StoreRefused(
                f"The log file {path} cannot be opened ({fault}): make room, or give the server's user the right to it."
            ) from fault
        set_aside(path, f"{path} is damaged: {fault}")
    return None


def set_aside(path: Path, why: str) -> None:
    """Renames a file that cannot be read to ``*.corrupt`` and says so."""
    for end in ("-wal", "-shm", ""):
        companion = path.with_name(path.name + end)
        if companion.exists():
            companion.rename(companion.with_name(path.name + ".corrupt" + end))
    logger.warning(
        "A log file was set aside: its lines cannot be shown",
        extra={"action": "log_file_set_aside", "path": str(path), "why": why},
    )
