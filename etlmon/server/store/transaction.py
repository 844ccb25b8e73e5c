"""The verbs of change. An operation is a function of the Transaction, run in the writer's thread, in order.

Jobs, marks, journal rows and log lines are buffered and written once before the commit; the rest is written at once,
under a savepoint. An operation that raises is undone alone.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core.events import Event, Item, Notice
from etlmon.core.job import Job, LogLine, Past, Status
from etlmon.server.store import audit, jobs, journal, pruning, rollups, tokens
from etlmon.server.store.commands import Command, OpenCommands
from etlmon.server.store.logs.columns import Columns
from etlmon.server.store.past import PastCache
from etlmon.server.store.producers import PUT as PUT_MARK
from etlmon.server.store.producers import MarkCache, ProducerMark
from etlmon.server.store.queue import QueueTable
from etlmon.server.store.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlmon.server.store.logs.settings import BlockRef
    from etlmon.server.store.logs.store import LogStore

__all__ = ["Command", "ProducerMark", "Token", "Transaction"]

_MISSING: Any = object()
SET_META = "UPDATE meta SET value = ? WHERE key = ?"
"""Where the numbers stand, in the transaction that moves them."""


class Transaction:
    """One object for the writer's life: ``begin`` … operations … ``flush`` and then ``settle`` or ``abandon``."""

    def __init__(
        self, connection: sqlite3.Connection, logs: LogStore, *, head: int, oldest: int, now: Callable[[], int]
    ) -> None:
        self._db = connection
        self._logs = logs
        self._now = now
        self._jobs = jobs.JobCache(connection)
        self._marks = MarkCache(connection)
        self._open = OpenCommands(connection)
        self._pasts = PastCache(connection)
        self.queue = QueueTable(connection, self._guard)
        self.head = self.committed_head = head
        self.oldest = self.committed_oldest = oldest
        self._clear()

    def _clear(self) -> None:
        self._dirty: dict[str, tuple[Job, bytes]] = {}
        self._written: dict[str, jobs.Kept] = {}
        self._dirty_marks: dict[str, ProducerMark] = {}
        self._rows: list[journal.Row] = []
        self._lines: list[Columns] = []
        self._n_lines = 0
        self._runs: list[tuple[int, int]] = []
        self._items: list[Item] = []
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._saved: tuple[int, ...] = ()
        self._savepoint = False

    # Numbers.

    def next_seq(self, n: int = 1) -> int:
        """The first of ``n`` new consecutive numbers."""
        first = self.head + 1
        self.head += n
        return first

    # Jobs.

    def job(self, job_id: str) -> Job | None:
        """The job as this transaction sees it."""
        dirty = self._dirty.get(job_id)
        if dirty is not None:
            return dirty[0]
        kept = self._jobs.get(job_id)
        return None if kept is None else kept.job

    def put_job(self, job: Job) -> None:
        """Keep the newest state of a job. Raises for text or numbers that JSON cannot carry."""
        if job.is_managed:
            self.queue.follow(self.job(job.id), job)
        self._replace(self._dirty, job.id, (job, jobs.encode(job)))

    def past(self, name: str) -> Past | None:
        """What the last 20 completed runs of ``name`` looked like; None when there are none."""
        return self._pasts.get(name)

    # Journal.

    def append_event(self, seq: int, event: Event, before: Job | None, after: Job | None) -> None:
        """Journal an event with the job after it and what differed before (None: it is new)."""
        self._rows.append(journal.event_row(seq, event, before, after))

    def append_notice(self, notice: Notice) -> None:
        """Journal a change of something that is not a job."""
        self._rows.append(journal.notice_row(notice))

    def append_lines(self, lines: list[LogLine]) -> None:
        """Lines of consecutive numbers; they become part of this commit's one log block."""
        if lines:
            self.append_columns(Columns.of(lines))

    def append_columns(self, lines: Columns) -> None:
        """As ``append_lines``; there is at least one, and the columns must not be changed afterwards."""
        self._runs.append((lines.seqs[0], len(lines.seqs)))
        self._lines.append(lines)
        self._n_lines += len(lines.seqs)

    @property
    def n_lines(self) -> int:
        """How many lines wait for the block."""
        return self._n_lines

    # Producers and commands.

    def producer(self, producer_id: str) -> ProducerMark | None:
        """How far the producer was taken; None when it was never heard of."""
        return self._dirty_marks.get(producer_id) or self._marks.get(producer_id)

    def put_producer(self, mark: ProducerMark) -> None:
        """The producer was taken this far."""
        self._replace(self._dirty_marks, mark.id, mark)

    def add_command(self, command: Command) -> None:
        """Ask an agent for something."""
        self._guard()
        self._open.add(command)

    def open_commands(self, *, producer: str | None = None, job_id: str | None = None) -> list[Command]:
        """What is asked and not yet obeyed or refused, oldest first."""
        return self._open.of(producer, job_id)

    def address_commands(self, job_id: str, producer: str) -> None:
        """Let the open commands of a job be obeyed by this producer."""
        if any(command.producer != producer for command in self._open.of(None, job_id)):
            self._guard()
            self._open.address(job_id, producer)

    def settle_command(self, command_id: str, outcome: str, at: int) -> bool:
        """Note how a command ended; False when it had ended before or never was."""
        if not self._open.holds(command_id):
            return False
        self._guard()
        self._open.settle(command_id, outcome, at)
        return True

    # People.

    def audit(self, *, at: int, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
        """Note who did what."""
        self._execute(audit.ADD, audit.row_of(at, actor, action, subject, detail))

    def put_token(self, token: Token) -> None:
        """Keep a new token, or what changed of a known one."""
        self._execute(tokens.PUT, tokens.row_of(token))

    def revoke_token(self, token_id: str, at: int) -> bool:
        """End a token; False when there is none that still holds."""
        return self._execute(tokens.REVOKE, (at, token_id)) == 1

    def use_token(self, token_id: str, at: int) -> None:
        """Note when a token was last presented."""
        self._execute(tokens.USED, (at, token_id))

    # Retention, in slices small enough that nobody waits for them (design.md, law 9).

    def prune_jobs(self, before: int, limit: int = pruning.JOBS_SLICE) -> int:
        """Remove up to ``limit`` jobs that were over and unchanged before an instant, with their journal; how many."""
        self._guard()
        ids, last_seq = pruning.prune_jobs(self._db, before, min(limit, pruning.JOBS_SLICE), self._dirty)
        for job_id in ids:
            self._jobs.forget(job_id)
        self._reach_back_to(last_seq)
        return len(ids)

    def prune_journal(self, before: int, limit: int = pruning.SLICE) -> int:
        """Remove up to ``limit`` journal rows older than an instant; how many."""
        self._guard()
        n, last_seq = pruning.prune_journal(self._db, before, min(limit, pruning.SLICE))
        self._reach_back_to(last_seq)
        return n

    def prune_log_runs(self, limit: int = pruning.LONG_SLICE) -> int:
        """Remove up to ``limit`` commits of log lines that are gone with their day file; how many."""
        self._guard()
        return pruning.prune_log_runs(self._db, self._logs.oldest_seq, min(limit, pruning.LONG_SLICE))

    def prune_rest(self, before: int, limit: int = pruning.SLICE) -> int:
        """Remove up to ``limit`` each of settled commands, silent producers and audit lines older than an instant, and
        the commits of log lines that are gone; how many."""
        self._guard()
        self._marks.clear()
        n = pruning.prune_rest(self._db, before, min(limit, pruning.SLICE)) + self.prune_log_runs()
        return n + self.queue.prune(before)

    def _reach_back_to(self, seq: int) -> None:
        self.oldest = max(self.oldest, seq)

    # After the commit.

    def publish(self, *items: Item) -> None:
        """Hand items to ``on_commit``, in order, once they are durable."""
        self._items += items

    # The writer's side.

    def begin(self) -> None:
        """Take the write lock. sqlite3.OperationalError (BUSY) when another process keeps it."""
        self._db.execute("BEGIN IMMEDIATE")

    def begin_operation(self) -> None:
        """What follows can be undone alone."""
        self._undo.clear()
        sizes = (len(self._rows), len(self._lines), len(self._items))
        self._saved = (*sizes, self._n_lines, self.head, self.oldest)

    def end_operation(self) -> None:
        """Keep what the operation did."""
        if self._savepoint:
            self._db.execute("RELEASE operation")
            self._savepoint = False

    def undo_operation(self) -> None:
        """Take back everything since ``begin_operation``."""
        for mapping, key, old in reversed(self._undo):
            if old is _MISSING:
                del mapping[key]
            else:
                mapping[key] = old
        n_rows, n_runs, n_items, self._n_lines, self.head, self.oldest = self._saved
        del self._rows[n_rows:], self._lines[n_runs:], self._runs[n_runs:], self._items[n_items:]
        if self._savepoint:
            self._db.execute("ROLLBACK TO operation")
            self._db.execute("RELEASE operation")
            self._savepoint = False
            self._open.forget()
            self.queue.forget()

    def _replace(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((mapping, key, mapping.get(key, _MISSING)))
        mapping[key] = value

    def _guard(self) -> None:
        if not self._savepoint:
            self._db.execute("SAVEPOINT operation")
            self._savepoint = True

    def _execute(self, sql: str, parameters: tuple[object, ...]) -> int:
        self._guard()
        return self._db.execute(sql, parameters).rowcount

    def flush(self) -> BlockRef | None:
        """Write what was buffered. The log block, if there is one, is synced to its file: ``discard`` it on failure."""
        self._write_jobs()
        if self._dirty_marks:
            self._db.executemany(PUT_MARK, [msgspec.structs.astuple(mark) for mark in self._dirty_marks.values()])
        if self._rows:
            journal.append_rows(self._db, self._rows)
        if self.head != self.committed_head:
            self._db.execute(SET_META, (self.head, "head"))
        if self.oldest != self.committed_oldest:
            self._db.execute(SET_META, (self.oldest, "oldest"))
        return self._write_lines() if self._lines else None

    def _write_jobs(self) -> None:
        moves: dict[Status, int] = {}
        ends: list[rollups.Row] = []
        for job_id, (job, body) in self._dirty.items():
            kept = self._jobs.get(job_id)
            before = None if kept is None else kept.job
            self._written[job_id] = jobs.write_job(self._db, kept, job, body)
            jobs.count_moves(before, job, moves)
            ends += rollups.moves_of(before, job)
        if moves:
            self._db.executemany(jobs.COUNT_STATUS, [(status.value, n) for status, n in moves.items() if n])
        if ends:
            self._db.executemany(rollups.ADD, ends)

    def _write_lines(self) -> BlockRef:
        block = self._logs.append_columns(Columns.joined(self._lines))
        try:
            journal.append_runs(self._db, journal.runs_of(self._runs), self._now(), block)
        except BaseException:
            self._logs.discard(block)
            raise
        return block

    def discard(self, block: BlockRef) -> None:
        """The commit that was to name the block failed."""
        self._logs.discard(block)

    @property
    def changed(self) -> bool:
        """Whether there is anything that viewers or readers could notice."""
        return bool(self._items) or self.head != self.committed_head or self.oldest != self.committed_oldest

    def settle(self) -> list[Item]:
        """The commit is durable: what it held is now the state; its items, in order."""
        items = self._items
        for kept in self._written.values():
            self._jobs.put(kept)
            if kept.job.status is Status.COMPLETED:
                self._pasts.forget(kept.job.name)
        for mark in self._dirty_marks.values():
            self._marks.put(mark)
        self.committed_head, self.committed_oldest = self.head, self.oldest
        self._clear()
        return items

    def abandon(self) -> None:
        """The transaction failed: everything is as before it."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self.head, self.oldest = self.committed_head, self.committed_oldest
        self._open.forget()
        self.queue.forget()
        self._pasts.clear()
        self._clear()
