"""The Store: what the rest of the server may ask of main.db and the logs. Writes go to one thread; reads to a pool."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from etlmon.core.errors import StoreUnavailable, Unavailable
from etlmon.core.events import Item
from etlmon.core.job import Job
from etlmon.server.store import audit, catch_up, commands, job_pages, jobs, journal, producers, tokens
from etlmon.server.store.analytics import Analytics
from etlmon.server.store.ballast import Ballast
from etlmon.server.store.commands import Command
from etlmon.server.store.cursors import read_cursor, write_cursor
from etlmon.server.store.logs.settings import LogSettings
from etlmon.server.store.logs.store import LogStore
from etlmon.server.store.look import Look
from etlmon.server.store.opening import CHECKED_BYTES, Opened, open_main
from etlmon.server.store.pages import JobQuery, Page
from etlmon.server.store.producers import ProducerMark
from etlmon.server.store.queue import QueueReads
from etlmon.server.store.readers import Readers
from etlmon.server.store.tokens import Token
from etlmon.server.store.transaction import Transaction
from etlmon.server.store.writer import Group, Work, Writer

__all__ = ["JobQuery", "Page", "Store", "StoreSettings"]

log = logging.getLogger(__name__)
T = TypeVar("T")

FIND_BY_BEGINNING = "SELECT id FROM job WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
"""Ids that begin with a text."""
FIND_BY_END = "SELECT id FROM job WHERE id_reversed >= ? AND id_reversed < ? ORDER BY id_reversed LIMIT ?"
"""Ids that end with a text, given reversed."""
COUNTS = "SELECT status, n FROM job_count WHERE n > 0"
"""How many jobs stand in each status."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the store needs of the configuration; sizes in bytes."""

    readers: int = 3
    max_queue: int = 10_000
    """Operations that may wait for the writer; beyond it they are refused with 503."""
    max_queue_bytes: int = 64 << 20
    """Bytes of the requests behind them."""
    ballast_bytes: int = 32 << 20
    """Disk space set aside for control and state on a full disk."""
    checked_bytes: int = CHECKED_BYTES
    logs: LogSettings = msgspec.field(default_factory=LogSettings)


class Store:
    """Open it with ``Store.open``. ``head`` is what the loop knows to be committed, and moves before ``on_commit``."""

    def __init__(
        self,
        opened: Opened,
        settings: StoreSettings,
        ballast: Ballast,
        *,
        on_commit: Callable[[list[Item], int], None],
        now: Callable[[], int],
    ) -> None:
        self.path = opened.path
        self.epoch = opened.epoch
        self.head = opened.head
        self.oldest = opened.oldest
        self.restored = opened.restored
        self.settings = settings
        self.logs = LogStore(opened.path.parent / "logs", settings.logs, now)
        self._opened = opened
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closing = False
        self._check: asyncio.Task[None] | None = None
        self._look = Look(opened.path)
        self._readers = Readers(opened.path, settings.readers, self._found_damaged)
        self.analytics = Analytics(self._readers)
        self.queue = QueueReads(self._readers)
        transaction = Transaction(opened.connection, self.logs, head=opened.head, oldest=opened.oldest, now=now)
        self._writer = Writer(
            opened.connection,
            transaction,
            opened.path,
            epoch=opened.epoch,
            ballast=ballast,
            deliver=self._deliver,
        )

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        settings: StoreSettings | None = None,
        *,
        on_commit: Callable[[list[Item], int], None],
        now: Callable[[], int],
    ) -> Store:
        """Open or create the store in ``data_dir``. StoreRefused, with the next step, when it must not be used."""
        settings = settings or StoreSettings()
        ballast = Ballast(data_dir / "ballast", settings.ballast_bytes)
        opened = await asyncio.to_thread(open_main, data_dir, checked_bytes=settings.checked_bytes, ballast=ballast)
        try:
            store = cls(opened, settings, ballast, on_commit=on_commit, now=now)
            await asyncio.to_thread(store.logs.open, opened.head, store._names)
            await store._readers.open()
        except BaseException:
            opened.connection.close()
            opened.lock.release()
            raise
        store._writer.start()
        if opened.unchecked:
            store._check = asyncio.create_task(store.check(), name="store-check")
        return store

    def _names(self, first_seq: int) -> bool:
        """Whether a journal row names the log block that begins with this number."""
        return self._opened.connection.execute(journal.NAMES, (first_seq,)).fetchone() is not None

    # Writing.

    @property
    def degraded(self) -> str | None:
        """Why nothing can be committed now; None while all is well."""
        trouble = self._writer.trouble
        return None if trouble is None else trouble.why

    async def write(self, op: Callable[[Transaction], T], *, reserve: bool = False, n_bytes: int = 0) -> T:
        """Run ``op`` in the writer's thread; its result comes after the durable commit.

        What it raises undoes it alone. StoreUnavailable when the store cannot commit (``reserve`` may use the space
        set aside for a full disk), Unavailable when too much waits. ``op`` may be run more than once, so it changes
        nothing but the transaction. ``n_bytes`` is what it keeps in memory.
        """
        self._admit(n_bytes, reserve=reserve)
        reply: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._waiting_bytes += n_bytes
        self._writer.submit(Work(op, reply, reserve, n_bytes))
        return await reply

    def _admit(self, n_bytes: int, *, reserve: bool) -> None:
        if self._closing or not self._writer.alive:
            raise StoreUnavailable("The server is stopping.", retry_after_s=1.0)
        trouble = self._writer.trouble
        if trouble is not None and not (reserve and trouble.has_reserve):
            raise trouble.refusal()
        full = self._waiting >= self.settings.max_queue
        if full or (self._waiting and self._waiting_bytes + n_bytes > self.settings.max_queue_bytes):
            raise Unavailable("Too many changes wait to be stored: try again in a moment.", retry_after_s=1.0)

    def _deliver(self, group: Group) -> None:
        """Called in the writer's thread: one call to the loop per commit."""
        try:
            self._loop.call_soon_threadsafe(self._committed, group)
        except RuntimeError:
            log.error("A commit could not be told: the loop is closed.", extra={"action": "deliver"})

    def _committed(self, group: Group) -> None:
        self.head = group.head
        self.oldest = group.oldest
        if group.changed:
            try:
                self._on_commit(group.items, group.head)
            except Exception:
                log.exception("What was committed could not be handed on.", extra={"action": "on_commit"})
        for outcome in group.outcomes:
            self._waiting -= 1
            self._waiting_bytes -= outcome.work.n_bytes
            reply = outcome.work.reply
            if reply.done():
                continue
            if outcome.fault is None:
                reply.set_result(outcome.value)
            else:
                reply.set_exception(outcome.fault)

    @property
    def waiting(self) -> int:
        """Operations that wait for the writer."""
        return self._waiting

    async def close(self) -> None:
        """Commit what waits, fold the write-ahead log in, and let go of everything. Runs to its end when cancelled."""
        if not self._closing:
            self._closing = True
            await asyncio.shield(asyncio.create_task(self._close(), name="store-close"))

    async def _close(self) -> None:
        self._look.stop()
        if self._check is not None:
            await asyncio.wait([self._check])
        await self._readers.close()
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self.logs.close)
        self._opened.lock.release()

    # Checking.

    async def check(self) -> None:
        """Look at every page of main.db; damage stops all commits until a restart with a backup."""
        why = await asyncio.to_thread(self._look.damage)
        if why is not None:
            self._found_damaged(why)

    def _found_damaged(self, why: str) -> None:
        self._writer.damage(f"{self.path} is damaged ({why}): stop the server, put a backup in its place and start it.")

    # Jobs.

    async def job(self, job_id: str) -> Job | None:
        """One job; None when there is none."""
        rows = await self._readers.fetch(jobs.FIND, (job_id,))
        return jobs.decode(rows[0][1]) if rows else None

    async def jobs_by_id(self, ids: set[str]) -> dict[str, Job]:
        """The jobs of these ids that exist."""
        return await catch_up.bodies_by_id(self._readers, ids) if ids else {}

    async def find_jobs(self, part: str, limit: int = 2) -> list[str]:
        """Up to ``limit`` ids that begin or end with ``part``."""
        if not part:
            return []
        rows = await self._readers.fetch(FIND_BY_BEGINNING, (part, _beyond(part), limit))
        reversed_part = part[::-1]
        rows += await self._readers.fetch(FIND_BY_END, (reversed_part, _beyond(reversed_part), limit))
        return list(dict.fromkeys(row[0] for row in rows))[:limit]

    async def jobs_page(self, query: JobQuery, now: int) -> Page[Job]:
        """The next page of jobs. Malformed for a cursor of another query; a page may be short and yet have a next."""
        return await job_pages.read_page(self._readers, query, now)

    async def count_jobs(self, query: JobQuery, now: int, *, cap: int = 10_000) -> int:
        """How many jobs match; ``cap`` + 1 stands for more than ``cap``. DeadlineExceeded when counting takes long."""
        return await job_pages.count_jobs(self._readers, query, now, cap)

    async def active_jobs(self) -> list[Job]:
        """Every pending, running and paused job, oldest first."""
        rows = await self._readers.fetch(jobs.ACTIVE_BODIES)
        return [jobs.decode(row[0]) for row in rows]

    async def counts_by_status(self) -> dict[str, int]:
        """How many jobs stand in each status."""
        rows = await self._readers.fetch(COUNTS)
        return dict(rows)

    # The journal.

    async def items_after(
        self, after: int, upto: int, limit: int, *, jobs: bool = True, logs: bool = True
    ) -> tuple[list[Item], int]:
        """What was committed with ``after`` < seq <= reached <= ``upto``, in order, and ``reached``; see catch_up."""
        return await catch_up.items_after(self._readers, self.logs, after, upto, limit, want_jobs=jobs, want_logs=logs)

    async def job_events(
        self, job_id: str, after: int = 0, limit: int = 50, *, cursor: str | None = None
    ) -> Page[journal.Journaled]:
        """A page of one job's part of the journal, after a number or a cursor."""
        bound = f"events\0{job_id}"
        start = after if cursor is None else read_cursor(bound, cursor, int)
        rows = await self._readers.fetch(journal.EVENTS_OF_JOB, (job_id, start, limit + 1))
        more = write_cursor(bound, rows[limit - 1][0]) if len(rows) > limit else None
        return Page(items=[journal.journaled(seq, body) for seq, body in rows[:limit]], next_cursor=more)

    # Agents and people.

    async def producer(self, producer_id: str) -> ProducerMark | None:
        """How far a producer was taken; None when it was never heard of."""
        rows = await self._readers.fetch(producers.FIND, (producer_id,))
        return producers.mark_of(rows[0]) if rows else None

    async def open_commands(self, *, producer: str | None = None) -> list[Command]:
        """What is asked and not yet obeyed or refused, oldest first; of one producer, or all."""
        if producer is None:
            rows = await self._readers.fetch(commands.OPEN)
        else:
            rows = await self._readers.fetch(commands.OPEN_OF_PRODUCER, (producer,))
        return [commands.command_of(row) for row in rows]

    async def commands_of_job(self, job_id: str, limit: int = 50) -> list[Command]:
        """The newest commands of a job, settled ones included."""
        rows = await self._readers.fetch(commands.OF_JOB, (job_id, limit))
        return [commands.command_of(row) for row in rows]

    async def tokens(self) -> list[Token]:
        """Every token, the revoked ones included, oldest first."""
        return [tokens.token_of(row) for row in await self._readers.fetch(tokens.EVERY)]

    async def audit_page(self, cursor: str | None = None, limit: int = 50) -> Page[audit.Deed]:
        """A page of the audit, newest first."""
        before = 2**62 if cursor is None else read_cursor("audit", cursor, int)
        rows = await self._readers.fetch(audit.PAGE, (before, limit + 1))
        more = write_cursor("audit", rows[limit - 1][0]) if len(rows) > limit else None
        return Page(items=[audit.deed_of(row) for row in rows[:limit]], next_cursor=more)

    # Health.

    def stats(self) -> dict[str, Any]:
        """Sizes and counts for health and metrics; costs a few system calls."""
        wal = self._writer.wal
        return {
            "epoch": self.epoch,
            "head": self.head,
            "oldest": self.oldest,
            "waiting": self._waiting,
            "commits": self._writer.n_groups,
            "mainBytes": self.path.stat().st_size if self.path.exists() else 0,
            "walBytes": wal.file_bytes(),
            "sqlite": sqlite3.sqlite_version,
            "degraded": self.degraded,
        }


def _beyond(prefix: str) -> str:
    """A text above all that begin with ``prefix``. Ids are ASCII."""
    return prefix + "\x7f"
