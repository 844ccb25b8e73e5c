"""The read side: a few read-only connections, one hop to their thread per query, and a deadline for each.

A reader that lingers would keep the write-ahead log from being folded in, so none may outlive its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite

from etlmon.core.errors import DeadlineExceeded, StoreUnavailable
from etlmon.host.clock import monotonic_s

DEADLINE_S = 5.0
STEPS = 2_000
"""SQLite's virtual steps between two looks at the deadline: well under a millisecond."""
PRAGMAS = (
    "query_only = ON",
    "cache_size = -8192",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
    # No memory map: a file that somebody truncates would kill the process with SIGBUS.
    "mmap_size = 0",
    "busy_timeout = 1000",
)

Rows = list[tuple[Any, ...]]


class _Reader:
    """One connection, which serves one query at a time."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self.until = 0.0

    @classmethod
    async def open(cls, path: Path) -> _Reader:
        reader = cls(await aiosqlite.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None))
        try:
            for pragma in PRAGMAS:
                await reader.connection.execute_fetchall(f"PRAGMA {pragma}")
            await reader.connection.set_progress_handler(reader._is_late, STEPS)
        except BaseException:
            await asyncio.shield(reader.connection.close())
            raise
        return reader

    def _is_late(self) -> bool:
        """Asked by SQLite in its own thread; true ends the query."""
        return monotonic_s() > self.until

    async def fetch(self, sql: str, parameters: Iterable[Any]) -> Rows:
        return list(await self.connection.execute_fetchall(sql, parameters))  # type: ignore[arg-type]


class Readers:
    """A pool that never holds more than ``size`` connections; queries beyond that wait, up to their deadline.

    ``on_damage`` is called, on the loop, when a query finds the file corrupt.
    """

    def __init__(self, path: Path, size: int, on_damage: Callable[[str], None] = lambda why: None) -> None:
        self._path = path
        self._size = size
        self._on_damage = on_damage
        self._all: list[_Reader] = []
        self._free: asyncio.LifoQueue[_Reader] = asyncio.LifoQueue()
        self._running: set[asyncio.Task[Rows]] = set()
        self._closed = False

    async def open(self) -> None:
        """Open the connections."""
        for _ in range(self._size):
            reader = await _Reader.open(self._path)
            self._all.append(reader)
            self._free.put_nowait(reader)

    async def fetch(self, sql: str, parameters: Iterable[Any] = (), *, deadline_s: float = DEADLINE_S) -> Rows:
        """Every row of one query. DeadlineExceeded when it is not done in time; StoreUnavailable when reading fails."""
        until = monotonic_s() + deadline_s
        reader = await self._take(deadline_s)
        reader.until = until
        task = asyncio.create_task(reader.fetch(sql, parameters), name="store-read")
        self._running.add(task)
        task.add_done_callback(lambda done: self._release(reader, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                reader.until = 0.0  # nobody waits for it: SQLite gives up at its next look
            raise
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise DeadlineExceeded(f"The query took longer than {deadline_s:g} s: narrow it.") from None
            raise StoreUnavailable(f"The store cannot be read ({fault}).", retry_after_s=5.0) from fault
        except sqlite3.DatabaseError as fault:
            if getattr(fault, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                self._on_damage(str(fault))
            raise StoreUnavailable(f"The store cannot be read ({fault}).", retry_after_s=30.0) from fault

    async def _take(self, deadline_s: float) -> _Reader:
        """A free connection."""
        try:
            reader = self._free.get_nowait()
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(deadline_s):
                    reader = await self._free.get()
            except TimeoutError:
                raise DeadlineExceeded("The store is busy with other queries: try again in a moment.") from None
        if self._closed:
            self._free.put_nowait(reader)
            raise StoreUnavailable("The server is stopping.", retry_after_s=1.0)
        return reader

    def _release(self, reader: _Reader, done: asyncio.Task[Rows]) -> None:
        self._running.discard(done)
        if not done.cancelled():
            done.exception()  # looked at, so that an abandoned query's error is not reported as forgotten
        self._free.put_nowait(reader)

    async def close(self) -> None:
        """End what runs and close every connection: one left open would keep the process alive (aiosqlite#369)."""
        self._closed = True
        for reader in self._all:
            reader.until = 0.0
        if self._running:
            await asyncio.wait(self._running)
        while self._all:
            reader = self._all.pop()
            with contextlib.suppress(sqlite3.Error, ValueError):
                await asyncio.shield(reader.connection.close())
