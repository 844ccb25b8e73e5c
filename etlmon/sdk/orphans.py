"""Spools whose owners are dead: found by their free locks, and adopted only for the same server and token."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from etlmon.host.clock import now_ms
from etlmon.sdk.destination import Standing, standing
from etlmon.sdk.guard import warn_once
from etlmon.sdk.mark import SUFFIX, MarkTooNew, MarkUnreadable
from etlmon.sdk.segments import SUFFIX as SEGMENT_SUFFIX
from etlmon.sdk.spool import FileSpool

if TYPE_CHECKING:
    from etlmon.host.endpoint import Endpoint
    from etlmon.sdk.tail import Limits

UNBORN_S: Final = 86_400.0
"""A mark that was not finished in so long belonged to a process that died while it made it."""


class Found(msgspec.Struct, frozen=True):
    """The oldest orphan that may be delivered now, adopted; and whether others wait for a server that is not up."""

    spool: FileSpool | None
    waiting: bool = False


def look_for_orphan(directory: Path, endpoint: Endpoint, limits: Limits) -> Found:
    """Look at every spool whose owner is dead, until one may be given to ``endpoint``."""
    waiting = False
    for path in _marks(directory):
        spool = _adopt(path, limits)
        if spool is None:
            continue
        match standing(spool.mark.header, endpoint):
            case Standing.OURS:
                return Found(spool)
            case Standing.WAIT:
                spool.abandon()
                waiting = True
            case Standing.FOREIGN:
                spool.abandon()
                _expire(path, limits, f"{path} is for {spool.mark.header.url or 'no server'} or for another token")
    return Found(None, waiting)


def _adopt(path: Path, limits: Limits) -> FileSpool | None:
    try:
        return FileSpool.adopt(path, limits)
    except MarkTooNew as fault:
        warn_once(f"orphan.{path.name}", f"etlmon: {path} was left as it is: {fault}")
    except MarkUnreadable as fault:
        _expire(path, limits, f"{path} cannot be read: {fault}")
    except OSError as fault:
        warn_once(f"orphan.{path.name}", f"etlmon: {path} was left as it is: {fault}")
    return None


def _marks(directory: Path) -> Iterator[Path]:
    """The marks in the directory, oldest first."""
    found: list[tuple[float, str]] = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            with contextlib.suppress(OSError):
                if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
                elif entry.name.endswith(".new") and time.time() - entry.stat().st_mtime > UNBORN_S:
                    os.unlink(entry.path)
    return (directory / name for _, name in sorted(found))


def _expire(path: Path, limits: Limits, why: str) -> None:
    """Remove a spool that nobody here can deliver once it is older than the bound; until then leave it, and say so."""
    stem = path.name.removesuffix(SUFFIX)
    files = [path, *path.parent.glob(f"{stem}.*{SEGMENT_SUFFIX}")]
    try:
        newest = max(file.stat().st_mtime for file in files)
        if now_ms() - newest * 1000 < limits.max_age_ms:
            warn_once(f"orphan.{path.name}", f"etlmon: {why}; it is kept for now")
            return
        for file in reversed(files):
            file.unlink(missing_ok=True)
    except OSError as fault:
        warn_once(f"orphan.{path.name}", f"etlmon: {why}; it cannot be removed: {fault}")
        return
    warn_once(f"expired.{path.name}", f"etlmon: {why}; it was too old and is removed")
