"""What keeps the store from committing, told from the error it raised, and for how long callers should stay away."""

from __future__ import annotations

import errno
import os
import sqlite3
from enum import StrEnum
from pathlib import Path

import msgspec

from etlmon.core.errors import StoreUnavailable

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Cause(StrEnum):
    """Why nothing can be committed. What ends it is said beside each; none needs a restart but DAMAGED."""

    FULL = "full"
    """No space. Ends when the ballast can be set aside again; until then the reserve is for control and state."""
    LOCKED = "locked"
    """Another process keeps the write lock. Ends when it lets go."""
    MOVED = "moved"
    """The file was renamed, removed or replaced while open. Ends when the same file is back in its place."""
    FAILING = "failing"
    """The disk or the file system reports errors. Ends when a write goes through."""
    DAMAGED = "damaged"
    """The file is corrupt. Reading goes on; ends with a restored backup and a restart."""


class Trouble(msgspec.Struct, frozen=True):
    """A cause and one sentence that a person can act on."""

    cause: Cause
    why: str

    @property
    def retry_after_s(self) -> float:
        """When trying again may help."""
        return {Cause.LOCKED: 1.0, Cause.FULL: 5.0, Cause.FAILING: 5.0}.get(self.cause, 30.0)

    @property
    def has_reserve(self) -> bool:
        """Whether operations that may use the reserve still go through."""
        return self.cause is Cause.FULL

    def refusal(self) -> StoreUnavailable:
        """What a caller is told."""
        return StoreUnavailable(self.why, retry_after_s=self.retry_after_s)


def is_fatal(fault: Exception) -> bool:
    """Whether an error says something of the store itself, rather than of the operation that met it."""
    if isinstance(fault, OSError):
        return fault.errno in (*_NO_SPACE, errno.EIO, errno.EROFS)
    return isinstance(fault, sqlite3.DatabaseError) and not isinstance(
        fault, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError)
    )


def is_full(fault: Exception, directory: Path) -> bool:
    """Whether an error means that there is no space left."""
    if isinstance(fault, OSError):
        return fault.errno in _NO_SPACE
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    # The shared-memory file grows by I/O calls of its own, whose errors do not say that the disk is full.
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _space(directory) < 1 << 20)


def diagnose(fault: Exception, path: Path) -> Trouble:
    """What a failed transaction means."""
    if is_full(fault, path.parent):
        return Trouble(Cause.FULL, f"The disk of {path.parent} is full: free some space; nothing needs a restart.")
    code = getattr(fault, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Trouble(Cause.LOCKED, f"{path} is locked by another process: stop what uses it (try: fuser {path}).")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Trouble(
                Cause.DAMAGED, f"{path} is damaged ({fault}): stop the server, put a backup in its place and start it."
            )
        case _:
            return Trouble(Cause.FAILING, f"{path} cannot be written ({fault}): see to its disk.")


def _space(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:
        return 1 << 62
    return found.f_bavail * found.f_frsize
