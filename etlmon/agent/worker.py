"""The worker: claims queued jobs and runs each as a process of its own, under a lease that it renews.

Three threads beside the attempts' own: the claims, the beat (leases and commands), and the main one, which heeds
signals. A server that is away changes nothing for what runs: its reports wait on disk, its lease is renewed when the
server is back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from etlmon import __version__
from etlmon.agent.worker_attempt import FINAL, Attempt, Bench, Open, Word
from etlmon.agent.worker_process import Place, Undertaker
from etlmon.agent.worker_rooms import Rooms
from etlmon.agent.worker_wire import Given, Introduction, Renewed, Wire
from etlmon.core.errors import Unreachable
from etlmon.host.clock import monotonic_s, new_id
from etlmon.host.endpoint import DEFAULT_ORIGIN, Endpoint
from etlmon.sdk.destination import EndpointSource, look_up
from etlmon.sdk.flush import spawn_flusher
from etlmon.sdk.guard import LOGGER
from etlmon.sdk.patience import Patience
from etlmon.sdk.reporter import Reporter
from etlmon.sdk.transport import NotAllowed

logger = logging.getLogger(__name__)

CLAIM_WAIT_MS = 20_000
LEASE_S = 30.0
"""Until the first claim says how long a lease is."""
NEWS_MS = 3000
"""A beat waits so long for news of the jobs that it named; the next one names those that came meanwhile."""
LOOK_S = 0.2
"""How often a control that is not yet obeyed is looked at."""
LEAST_S = 0.25
"""The least time between two claims that brought nothing: a server that stops answers at once."""
UNDERTAKER_S = 1.0
"""How often the undertaker hears that we live."""
KILLED_S = 2.0
"""How long after the last kill the attempts have to give their jobs back."""
LEAVE_S = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What ``etlmon worker`` was asked for. Times in milliseconds."""

    source: EndpointSource
    data_dir: Path
    concurrency: int
    queues: tuple[str, ...]
    allowed_roots: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    grace_ms: int
    drain_ms: int
    tell: Callable[[str], None]


class SignalBell:
    """What wakes the main thread: SIGTERM and SIGINT, which are counted, and other threads.

    A pipe, since a handler that takes a lock may find its own thread holding it.
    """

    def __init__(self) -> None:
        self.asked = 0
        """How often the worker was asked to stop."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def ring(self) -> None:
        """Wake the main thread; from any."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def wait(self, timeout_s: float) -> None:
        """Until somebody rings, or for so long."""
        select.select((self._read,), (), (), timeout_s)
        with contextlib.suppress(BlockingIOError):
            self.asked += sum(number in (signal.SIGTERM, signal.SIGINT) for number in os.read(self._read, 4096))


class Worker:
    """One worker process, from ``run`` to its drain."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._endpoint = _endpoint(options.source)
        self._source = _same_server(options.source, self._endpoint)
        self._me = Introduction(
            id=new_id(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            concurrency=options.concurrency,
            queues=options.queues,
        )
        self._rooms = Rooms(options.data_dir / "work")
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._n_busy = 0
        self._changed = threading.Condition(self._lock)
        self._bell = SignalBell()
        self._draining = threading.Event()
        self._lease_s = LEASE_S
        self._claims = Wire(self._source)
        self._beats = Wire(self._source)

    # -- life ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until SIGTERM or SIGINT, and then until every job is given back; the exit code."""
        logging.getLogger(LOGGER).addHandler(logging.NullHandler())
        self._reporter = Reporter(self._source, spool_dir=self._options.data_dir / "spool", source="worker")
        self._undertaker = Undertaker(self._lease_s)
        self._bench = self._build_bench()
        threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True)
            for work in (self._claim_on, self._beat_on, self._tidy)
        ]
        for thread in threads:
            thread.start()
        many = f"{self._options.concurrency} at a time, queue {', '.join(self._options.queues)}"
        self._options.tell(f"etlmon worker {self._me.id} for {self._endpoint.shown_url} ({many})")
        while not self._bell.asked:
            self._bell.wait(UNDERTAKER_S)
            self._undertaker.beat()
        return self._leave()

    def _build_bench(self) -> Bench:
        return Bench(
            worker_id=self._me.id,
            place=self._place,
            reporter=self._reporter,
            undertaker=self._undertaker,
            new_wire=lambda: Wire(self._source),
            grace_ms=self._options.grace_ms,
        )

    def _place(self) -> Place:
        endpoint = look_up(self._source) or self._endpoint
        return Place(
            url=endpoint.url or "",
            token=endpoint.token,
            cwd=os.getcwd(),
            allowed_roots=self._options.allowed_roots,
            allowed_hosts=self._options.allowed_hosts,
        )

    def _leave(self) -> int:
        """Drain: no new claims, every job to a checkpoint and back to the queue; what does not obey is killed."""
        self._draining.set()
        with self._changed:
            self._changed.notify_all()
        self._claims.interrupt()
        self._say_all(Word.DRAIN)
        if not self._all_over(self._options.drain_ms / 1000, hasty=True):
            self._say_all(Word.KILL)
            self._all_over(KILLED_S, hasty=False)
        for room in [room for _, room in self._rooms.kept() if room.has_reports]:
            spawn_flusher(room.spool, self._given_endpoint())
        if not self._reporter.close(LEAVE_S):
            spawn_flusher(self._options.data_dir / "spool", self._endpoint)
        self._undertaker.close()
        return 0

    def _all_over(self, limit_s: float, *, hasty: bool) -> bool:
        """Whether every attempt is done in time; ``hasty``: a second signal ends the wait."""
        until = monotonic_s() + limit_s
        while monotonic_s() < until and not (hasty and self._bell.asked > 1):
            self._undertaker.beat()
            with self._changed:
                if not self._attempts:
                    return True
            self._bell.wait(min(UNDERTAKER_S, max(0.0, until - monotonic_s())))
        with self._changed:
            return not self._attempts

    def _say_all(self, word: Word) -> None:
        with self._changed:
            attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.say(word)

    def _given_endpoint(self) -> Endpoint:
        """The server as the processes were told of it."""
        return Endpoint(url=self._endpoint.url, token=self._endpoint.token, origin="ETLMON_URL")

    # -- claims -------------------------------------------------------------------------------------------------

    def _claim_on(self) -> None:
        patience = Patience()
        while not self._draining.is_set():
            free = self._free_slots()
            if free == 0:
                continue
            began = monotonic_s()
            answer = self._claims.claim(self._me, free, CLAIM_WAIT_MS)
            if isinstance(answer, list):
                patience.success()
                for given in answer:
                    self._begin(given)
                if not answer:
                    self._draining.wait(max(0.0, began + LEAST_S - monotonic_s()))
                continue
            if isinstance(answer, NotAllowed):
                logger.warning("The token may not claim jobs", extra={"action": "claim", "status": answer.status})
            self._draining.wait(patience.failure())

    def _free_slots(self) -> int:
        """How many more jobs may run; waits while there is no room."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._n_busy < self._options.concurrency or self._draining.is_set(), UNDERTAKER_S
            )
            return self._options.concurrency - self._n_busy

    def _begin(self, given: Given) -> None:
        self._lease_s = given.lease_ms / 1000
        self._undertaker.limit(self._lease_s)
        room = self._rooms.of(given.spec.work_key or given.job.id)
        attempt = Attempt(given, self._bench, room, on_freed=self._freed, on_done=self._done)
        with self._changed:
            before = self._attempts.get(given.job.id)
            self._attempts[given.job.id] = attempt
            self._n_busy += 1
            self._changed.notify_all()
        if before is not None:  # ours as well, and lost: the job came back to us
            before.say(Word.LOST)
            before.join()
        attempt.start()
        if self._draining.is_set():
            attempt.say(Word.DRAIN)

    def _freed(self) -> None:
        with self._changed:
            self._n_busy -= 1
            self._changed.notify_all()

    def _done(self, attempt: Attempt) -> None:
        with self._changed:
            if self._attempts.get(attempt.given.job.id) is attempt:
                del self._attempts[attempt.given.job.id]
            self._changed.notify_all()
        self._bell.ring()

    # -- the beat -----------------------------------------------------------------------------------------------

    def _beat_on(self) -> None:
        """Renew every lease at least at a third of it, and hand on what the answer asks for."""
        patience = Patience()
        wait_ms = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._attempts))
                attempts = dict(self._attempts)
            answer = self._beats.renew(self._me.id, [attempt.lease for attempt in attempts.values()], wait_ms)
            if not isinstance(answer, Renewed):
                self._draining.wait(min(patience.failure(), self._lease_s / 3))
                wait_ms = 0
                continue
            patience.success()
            self._hand_on(attempts, answer)
            wait_ms = min(NEWS_MS, int(self._lease_s * 1000 / 3))
            if answer.commands or answer.lost:
                wait_ms = 0
                time.sleep(LOOK_S)

    def _hand_on(self, attempts: dict[str, Attempt], answer: Renewed) -> None:
        lost = set(answer.lost)
        for job_id, attempt in attempts.items():
            if job_id in lost:
                attempt.say(Word.LOST)
            else:
                attempt.say(Open([command for command in answer.commands if command.job_id == job_id]))

    # -- rooms --------------------------------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Remove the rooms of jobs that became final without us: cancelled in the queue, or done elsewhere."""
        wire = Wire(self._source)
        for job_id, room in self._rooms.kept():
            with self._changed:
                if job_id in self._attempts:
                    continue
            if not room.has_reports and wire.status(job_id) in FINAL:
                room.remove()
        wire.close()


def _endpoint(source: EndpointSource) -> Endpoint:
    found = look_up(source)
    if found is None or not found.url:
        raise Unreachable("No etlmon server is known here: start one with `etlmon server`, or give --url.")
    return found


def _same_server(source: EndpointSource, known: Endpoint) -> EndpointSource:
    """While our server is down and its ``server.json`` gone, what listens at the default address is a stranger."""

    def find() -> Endpoint:
        found = source()
        return known if found.origin == DEFAULT_ORIGIN != known.origin else found

    return find
