"""The writer: one thread that owns the only connection that writes or checkpoints main.db.

It takes what has queued while the last commit was synced, runs it as one transaction, and hands the outcome to the
loop in one call. No timer. SQLite before 3.51.3 corrupts a WAL that two connections write or checkpoint at once
(facts: WAL-reset bug), so nobody else may do either.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from etlmon.core.errors import StoreUnavailable
from etlmon.core.events import Item
from etlmon.host.clock import monotonic_s
from etlmon.server.store.ballast import Ballast
from etlmon.server.store.marker import Marker, write_marker
from etlmon.server.store.transaction import Transaction
from etlmon.server.store.trouble import Cause, Trouble, diagnose, is_fatal
from etlmon.server.store.wal import WalGauge

log = logging.getLogger(__name__)

GROUP = 2_000
"""Operations in one transaction at most, so that none waits long for its neighbours."""
GROUP_LINES = 50_000
"""Log lines in one transaction at most: their block is compressed whole."""
RESTART_BYTES = 8 << 20
"""Log that is folded into the file when nobody waits."""
PRESSING_BYTES = 24 << 20
"""Log that is folded in though somebody waits: the longer it grows, the longer they would."""
TRUNCATE_BYTES = 64 << 20
"""Log whose file is cut as well: readers kept it from beginning anew."""
CHECKPOINT_WAIT_MS = 20
"""How long a checkpoint waits for readers: nobody waits for it longer than this."""
CHECKPOINT_AGAIN_S = 0.5
TICK_S = 5.0
PROBE_S = 0.5


class Work(msgspec.Struct, gc=False):
    """One operation and whoever waits for it. ``reserve``: it may use the space set aside for a full disk."""

    op: Callable[[Transaction], Any]
    reply: Any
    reserve: bool = False
    n_bytes: int = 0


class Outcome(msgspec.Struct, gc=False):
    """What an operation returned or raised."""

    work: Work
    value: Any = None
    fault: Exception | None = None


class Group(msgspec.Struct):
    """One commit as the loop is told of it; ``items`` are empty when it failed."""

    outcomes: list[Outcome]
    items: list[Item]
    head: int
    oldest: int
    changed: bool


class Writer:
    """``deliver`` is called in the writer's thread with each Group; it must only pass it on."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        transaction: Transaction,
        path: Path,
        *,
        epoch: str,
        ballast: Ballast,
        deliver: Callable[[Group], None],
    ) -> None:
        self._db = connection
        self._tx = transaction
        self._path = path
        self._epoch = epoch
        self._ballast = ballast
        self._deliver = deliver
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        status = path.stat()
        self._identity = (status.st_dev, status.st_ino)
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        self.wal = WalGauge(path, page_bytes)
        self._wal_moved = True
        self._checkpoint_at = 0.0
        self._remembered_head = transaction.head
        self.trouble: Trouble | None = None
        self.n_groups = 0
        self.alive = True
        self._current: list[Work] = []
        self._thread = threading.Thread(target=self._run, name="etlmon-writer", daemon=True)

    def start(self) -> None:
        """Begin. Without its ballast the store starts in trouble: the disk is full."""
        if not self._ballast.make():
            self._enter(Trouble(Cause.FULL, f"The disk of {self._path.parent} is full: free some space."))
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Queue an operation. How many may wait is the Store's to bound."""
        self._queue.put(work)

    def stop(self) -> None:
        """Commit what is queued, fold the log into the file, close it. Blocks until that is done."""
        self._queue.put(None)
        self._thread.join()

    def damage(self, why: str) -> None:
        """A check found the file corrupt: commit nothing more to it."""
        self._enter(Trouble(Cause.DAMAGED, why))

    # The thread.

    def _run(self) -> None:
        try:
            while (works := self._gather()) is not None:
                if works:
                    self._current = works
                    self._take(works)
                    self._current = []
                if self._queue.empty():
                    self._rest()
                elif self.wal.file_bytes() > PRESSING_BYTES:
                    self._checkpoint(PRESSING_BYTES)
        except Exception:
            self._enter(Trouble(Cause.FAILING, "The writer stopped by a fault of its own: restart the server."))
            log.exception("The writer stopped.", extra={"action": "writer"})
            self._fail(self._current, _stopping)
        finally:
            self.alive = False
            self._close()

    def _gather(self) -> list[Work] | None:
        """What has queued; nothing after a while; None when it is time to stop."""
        try:
            first = self._queue.get(timeout=PROBE_S if self.trouble else TICK_S)
        except queue.Empty:
            self._tick()
            return []
        works: list[Work] = []
        waiting = min(self._queue.qsize(), GROUP - 1)
        while first is not None:
            works.append(first)
            if waiting == 0:
                return works
            waiting -= 1
            first = self._queue.get_nowait()
        self._queue.put(None)
        return works or None

    def _take(self, works: list[Work]) -> None:
        """Commit the works, in as many transactions as their lines ask for; what cannot be committed is refused."""
        while works:
            self._notice_moved()
            if self.trouble is not None:
                works = self._admit(works, self.trouble)
                if not works:
                    return
            works = self._commit(works)

    def _admit(self, works: list[Work], trouble: Trouble) -> list[Work]:
        """Those that may go on in trouble; the others are told at once."""
        reserve = trouble.has_reserve
        refused = [work for work in works if not (reserve and work.reserve)]
        if refused:
            self._fail(refused, trouble.refusal)
        return [work for work in works if reserve and work.reserve]

    def _fail(self, works: list[Work], fault: Callable[[], Exception]) -> None:
        """Tell each, with an error of its own: one that many tasks raise would gather all their tracebacks."""
        outcomes = [Outcome(work, fault=fault()) for work in works]
        self._deliver(Group(outcomes, [], self._tx.committed_head, self._tx.committed_oldest, changed=False))

    def _commit(self, works: list[Work]) -> list[Work]:
        """One transaction of as many works as fit; those that are left, or that must be tried again."""
        try:
            outcomes = self._attempt(works)
        except Exception as fault:  # noqa: BLE001 - whatever it was, it is told to those who wait
            self._abandon()
            return self._recover(works, fault)
        changed = self._tx.changed
        items = self._tx.settle()
        self._wal_moved = True
        self.n_groups += 1
        self._deliver(Group(outcomes, items, self._tx.committed_head, self._tx.committed_oldest, changed))
        return works[len(outcomes) :]

    def _attempt(self, works: list[Work]) -> list[Outcome]:
        self._tx.begin()
        outcomes = []
        for work in works:
            outcomes.append(self._perform(work))
            if self._tx.n_lines >= GROUP_LINES:
                break
        block = self._tx.flush()
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if block is not None:
                self._tx.discard(block)
            raise
        return outcomes

    def _perform(self, work: Work) -> Outcome:
        tx = self._tx
        tx.begin_operation()
        try:
            value = work.op(tx)
            tx.end_operation()
        except Exception as fault:
            if is_fatal(fault) or not self._db.in_transaction:
                raise
            tx.undo_operation()
            return Outcome(work, fault=fault)
        return Outcome(work, value)

    def _abandon(self) -> None:
        try:
            self._tx.abandon()
        except sqlite3.Error as fault:
            log.error("A rollback failed.", extra={"action": "rollback", "why": str(fault)})

    def _recover(self, works: list[Work], fault: Exception) -> list[Work]:
        """After a failed transaction: what to try again, with everybody else told."""
        if isinstance(fault, StoreUnavailable) and isinstance(fault.__cause__, Exception):
            fault = fault.__cause__  # the log file's own trouble
        if not is_fatal(fault):
            return self._alone(works, fault)
        trouble = diagnose(fault, self._path)
        again = trouble.cause is Cause.FULL and self._ballast.held
        self._enter(trouble)
        if trouble.cause is Cause.FULL:
            self._ballast.release()
        if again:
            return works
        self._fail(works, trouble.refusal)
        return []

    def _alone(self, works: list[Work], fault: Exception) -> list[Work]:
        """Something of one operation could not be written: each is tried by itself, so that only that one fails."""
        if len(works) == 1:
            log.error("An operation could not be committed.", extra={"action": "commit", "why": repr(fault)})
            self._fail(works, lambda: fault)
        else:
            for work in works:
                self._take([work])
        return []

    # Trouble.

    def _enter(self, trouble: Trouble) -> None:
        if self.trouble is None or self.trouble.cause is not trouble.cause:
            log.error("The store cannot commit.", extra={"action": "degraded", "why": trouble.why})
        self.trouble = trouble

    def _notice_moved(self) -> None:
        """A file renamed away goes on taking writes without an error (facts, reliability §1.2): look at its name."""
        try:
            status = os.stat(self._path)
            here = (status.st_dev, status.st_ino) == self._identity
        except OSError:
            here = False
        if not here and (self.trouble is None or self.trouble.cause is not Cause.MOVED):
            why = f"{self._path} was moved or replaced while in use: put the same file back, or stop the server first."
            self._enter(Trouble(Cause.MOVED, why))
        elif here and self.trouble is not None and self.trouble.cause is Cause.MOVED:
            self._leave()

    def _probe(self) -> None:
        """Whether the trouble is over."""
        if self.trouble is None:
            return
        match self.trouble.cause:
            case Cause.FULL:
                over = self._ballast.make() and self._can_write()
            case Cause.LOCKED | Cause.FAILING:
                over = self._can_write()
            case _:
                over = False
        if over:
            self._leave()

    def _can_write(self) -> bool:
        """Whether a small transaction goes through, without waiting for whoever holds the lock."""
        try:
            self._db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', abs(random()))")
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._abandon()
            return False
        finally:
            self._db.execute("PRAGMA busy_timeout = 5000")
        return True

    def _leave(self) -> None:
        log.info("The store commits again.", extra={"action": "recovered"})
        self.trouble = None

    # Between commits.

    def _tick(self) -> None:
        self._notice_moved()
        self._probe()
        if self.trouble is None:
            self._remember(clean=False)

    def _rest(self) -> None:
        """The queue is empty: the moment to fold the log in, so that no commit waits for it."""
        if self.trouble is not None:
            self._probe()
        if self._wal_moved:
            self._checkpoint(RESTART_BYTES)

    def _checkpoint(self, bound: int) -> None:
        if self.wal.file_bytes() <= bound or monotonic_s() < self._checkpoint_at:
            return
        used = self.wal.used_bytes()
        if used > TRUNCATE_BYTES:
            self._fold("TRUNCATE")
        elif used > bound:
            self._fold("RESTART")

    def _fold(self, mode: str) -> bool:
        try:
            self._db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            busy, _, _ = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as fault:
            log.warning(
                "The write-ahead log could not be folded in.", extra={"action": "checkpoint", "why": str(fault)}
            )
            busy = 1
        finally:
            self._db.execute("PRAGMA busy_timeout = 5000")
        self._wal_moved = bool(busy)
        if busy:
            self._checkpoint_at = monotonic_s() + CHECKPOINT_AGAIN_S
        return not busy

    def _remember(self, *, clean: bool) -> None:
        """Note how far the store has come, so that an older copy put in its place is known for what it is."""
        head = self._tx.committed_head
        if head == self._remembered_head and not clean:
            return
        device, inode = self._identity
        marker = Marker(epoch=self._epoch, dev=device, inode=inode, head=head, clean=clean)
        try:
            write_marker(self._path.parent, marker, sync=clean)
            self._remembered_head = head
        except OSError as fault:
            log.warning("The marker file cannot be written.", extra={"action": "marker", "why": str(fault)})

    def _close(self) -> None:
        """The last act; whoever still queued is told."""
        with contextlib.suppress(queue.Empty):
            while True:
                work = self._queue.get_nowait()
                if work is not None:
                    self._fail([work], _stopping)
        if self.trouble is None:
            self._fold("TRUNCATE")
            self._remember(clean=True)
        self.wal.close()
        self._db.close()


def _stopping() -> StoreUnavailable:
    return StoreUnavailable("The server is stopping.", retry_after_s=1.0)
