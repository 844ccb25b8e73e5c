"""The Reporter: takes any process's reports, never blocks it, never raises into it, and sees that they arrive once.

One Reporter is one producer: one spool and one sender thread. A forked child becomes a producer of its own.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from etlmon.core.instants import format_instant
from etlmon.host.clock import monotonic_s, now_ms
from etlmon.sdk.destination import EndpointSource, discover, header_for, look_up
from etlmon.sdk.encoding import Line, clip_line, encode, encode_fast, encode_lines, encode_report, tame_text
from etlmon.sdk.frames import LOG, STATE
from etlmon.sdk.guard import harmless, warn_once
from etlmon.sdk.losses import Losses
from etlmon.sdk.mark import new_producer
from etlmon.sdk.memory_spool import MemorySpool
from etlmon.sdk.spool import FileSpool
from etlmon.sdk.spool_directory import unusable
from etlmon.sdk.tail import Limits

if TYPE_CHECKING:
    from etlmon.core.reports import CommandItem
    from etlmon.host.endpoint import Endpoint

EXIT_S: Final = 5.0
AWAY_S: Final = 2.0
"""The longest that the end of the process waits for a server that answers, and for one that does not."""
MAX_EARLY: Final = 1000
MAX_SEEN: Final = 1000
TELL_LOSSES_S: Final = 1.0

_alive: weakref.WeakSet[Reporter] = weakref.WeakSet()


class _Running:
    """What exists from the first report on: the spool, the threads, and the endpoint they work for."""

    def __init__(self, reporter: Reporter, spool: FileSpool | MemorySpool, endpoint: Endpoint | None) -> None:
        from etlmon.sdk.command_poll import CommandPoll  # here, since a program that never reports needs none of it
        from etlmon.sdk.sender import Sender

        self.spool = spool
        self.endpoint = endpoint
        self.sender = Sender(
            spool,
            reporter._source,
            endpoint,
            reporter._limits,
            on_commands=reporter._dispatch,
            live_states=reporter._live,
            on_tick=reporter._tick,
            on_endpoint=reporter._on_endpoint,
            directory=spool.mark.path.parent if isinstance(spool, FileSpool) else None,
        )
        self.poll = CommandPoll(reporter._place, reporter._dispatch)
        self.thread = threading.Thread(target=self.sender.run, name="etlmon-sender", daemon=True)
        self.poll_thread = threading.Thread(target=self.poll.run, name="etlmon-commands", daemon=True)
        self.begun = False

    def begin(self) -> None:
        """Start the threads, once there is something to send."""
        self.begun = True
        for thread in (self.thread, self.poll_thread):
            try:
                thread.start()
            except RuntimeError as fault:  # at the interpreter's end, or out of threads: an heir will deliver
                warn_once("thread", f"etlmon: reports are kept on disk: {fault}")


class Reporter:
    """Takes reports and delivers each that reached the spool exactly once.

    ``endpoint`` is a fixed server, a function that finds it, or None to find it as every etlmon program does.
    """

    def __init__(
        self,
        endpoint: Endpoint | EndpointSource | None = None,
        *,
        spool_dir: str | os.PathLike[str] | None = None,
        source: str = "sdk",
        limits: Limits | None = None,
    ) -> None:
        self._source: EndpointSource = _as_source(endpoint)
        self._spool_dir = spool_dir
        self._kind = source
        self._limits = limits or Limits()
        self._on_command: Callable[[CommandItem], None] | None = None
        self._on_ticks: Callable[[], None] | None = None
        self._live_states: Callable[[], list[dict[str, Any]]] | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._closed = False
        self._fresh()
        _alive.add(self)

    def _fresh(self) -> None:
        """What a forked child must make anew."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._opening = False
        self._early: deque[tuple[int, bytes, str]] = deque()
        self._losses = Losses()
        self._lost = 0
        self._told_at = 0.0
        self._stamped = (-1, "")

    # -- reporting ----------------------------------------------------------------------------------------------

    @harmless
    def report(self, report: msgspec.Struct | dict[str, Any]) -> None:
        """Take one report: a ``core.reports`` struct, or the same as a dict. Never raises, never waits for a server."""
        kind, payload, job_id = encode_report(report, now_ms())
        self._put(kind, payload, job_id)

    @harmless
    def log(
        self,
        job_id: str,
        level: str,
        message: str,
        *,
        at: int | None = None,
        logger: str | None = None,
        step: str | None = None,
        fields: dict[str, Any] | None = None,
        fencing_token: int | None = None,
    ) -> None:
        """Take one log line; ``at`` in ms, now by default."""
        line = Line(
            job_id=job_id,
            at=self._stamp(now_ms() if at is None else at),
            message=clip_line(message),
            level=level,
            logger=logger,
            step=step,
            fields=msgspec.Raw(encode(fields)) if fields else None,
            fencing_token=fencing_token,
        )
        try:
            payload = encode_fast(line)
        except UnicodeError:
            names = {"message": tame_text(line.message), "logger": logger and tame_text(logger)}
            names["step"] = step and tame_text(step)
            payload = encode(msgspec.structs.replace(line, **names))
        self._put(LOG, payload, job_id)

    @harmless
    def log_lines(
        self,
        job_id: str,
        lines: Sequence[str],
        levels: Sequence[str] | None,
        *,
        at: int,
        logger: str | None,
        fencing_token: int | None = None,
    ) -> None:
        """Take many log lines of one instant (ms), at a fraction of what ``log`` costs. ``levels`` None: all info."""
        running = self._running
        try:
            payloads = encode_lines(
                job_id, lines, levels, at=format_instant(at), logger=logger, fencing_token=fencing_token
            )
        except UnicodeError:
            running = None
            payloads = []
        if running is None:
            for place, line in enumerate(lines):
                level = levels[place] if levels is not None else "info"
                self.log(job_id, level, line, at=at, logger=logger, fencing_token=fencing_token)
            return
        lost = len(payloads) - running.spool.append_lines(payloads)
        running.sender.ring()
        if lost:
            with self._lock:
                self._lost += lost
                self._losses.add(job_id, format_instant(now_ms()), lost)

    def _stamp(self, at: int) -> str:
        """``at`` as text; lines that are said in one go most often share it."""
        known = self._stamped
        if known[0] != at:
            self._stamped = known = (at, format_instant(at))
        return known[1]

    def _put(self, kind: int, payload: bytes, job_id: str) -> None:
        running = self._running or self._start(kind, payload, job_id)
        if running is None:
            return
        if kind == STATE and self._losses:
            self._tell_losses(running)
        if running.spool.append(kind, payload):
            running.sender.ring()
        elif kind in (LOG, STATE):
            self._lose(job_id)
        if not running.begun:
            running.begin()

    def _lose(self, job_id: str) -> None:
        with self._lock:
            self._lost += 1
            self._losses.add(job_id, format_instant(now_ms()))

    def _tell_losses(self, running: _Running) -> None:
        """Put down a gap report for all that was given up, before anything else is told of the job."""
        with self._lock:
            self._losses.tell(lambda gap: running.spool.append(STATE, gap), now_ms())

    # -- commands, ticks, states --------------------------------------------------------------------------------

    def on_command(self, function: Callable[[CommandItem], None] | None) -> None:
        """Call ``function`` once for each command to this producer's jobs, in a thread of ours; None: stop asking."""
        self._on_command = function
        running = self._running
        if running is not None:
            running.poll.listen(on=function is not None)

    def on_tick(self, function: Callable[[], None] | None) -> None:
        """Call ``function`` about five times a second in the sender thread, as long as there is one."""
        self._on_ticks = function

    def on_live_states(self, function: Callable[[], list[dict[str, Any]]] | None) -> None:
        """Where to ask for the jobs' live states (dicts of Job keys), shown while the server's store cannot commit."""
        self._live_states = function

    # -- ends ---------------------------------------------------------------------------------------------------

    @property
    def producer(self) -> str | None:
        """The id that batches go out under now; None before the first report."""
        running = self._running
        return running.spool.producer if running is not None else None

    @property
    def pending(self) -> int:
        """How many reports are not acknowledged yet."""
        running = self._running
        return max(0, running.spool.appended - running.spool.settled) if running is not None else 0

    @property
    def position(self) -> int:
        """How many reports were taken so far: ``settled`` tells when the last of them is acknowledged."""
        running = self._running
        return running.spool.appended if running is not None else 0

    def settled(self, position: int) -> bool:
        """Whether everything up to a ``position`` is acknowledged (or given up)."""
        running = self._running
        return running is None or running.spool.settled >= position

    @property
    def dropped(self) -> int:
        """How many reports were given up for want of room."""
        running = self._running
        return self._lost + (running.spool.losses.total if running is not None else 0)

    @property
    def is_away(self) -> bool:
        """Whether nobody answered the last time."""
        running = self._running
        return running is not None and running.sender.failed

    @property
    def reached(self) -> bool:
        """Whether the server's last answer was one of ours."""
        running = self._running
        return running is not None and running.sender.reached

    def flush(self, timeout_s: float = EXIT_S) -> bool:
        """Wait until all is acknowledged; False when the time ran out first."""
        running = self._running
        return running is None or self._wait(running, timeout_s, away_s=timeout_s)

    def close(self, timeout_s: float = EXIT_S, *, away_s: float = AWAY_S) -> bool:
        """Deliver what can be in time, then end; what is left stays in the spool for an heir. True: nothing is left.

        A server that does not answer is waited for at most ``away_s``.
        """
        self._closed = True
        atexit.unregister(self._at_exit)
        running, done = self._running, True
        if running is None:
            return done
        if self._losses:
            self._tell_losses(running)
        if running.thread.is_alive():
            done = self._wait(running, timeout_s, away_s=min(away_s, timeout_s))
            running.sender.stop(at_once=not done)
            running.poll.stop()
            running.thread.join(0.5)
        else:  # no thread could be started (the interpreter was already going down)
            done = self.pending == 0
            running.spool.close()
        return done

    def _wait(self, running: _Running, timeout_s: float, *, away_s: float) -> bool:
        """Wait for the spool to be empty; a server that is away is given ``away_s``, and one fresh try in any case."""
        began = monotonic_s()
        sender = running.sender
        tries = sender.attempts
        sender.hurry()
        with sender.moved:
            while self.pending:
                waited = monotonic_s() - began
                away = waited >= away_s and not (sender.reached and not sender.failed)
                hopeless = (
                    sender.failed and (sender.attempts > tries or sender.resting_s > away_s) and not sender.reached
                )
                if waited >= timeout_s or away or (hopeless and away_s < timeout_s) or not running.thread.is_alive():
                    return False
                sender.moved.wait(min(0.1, timeout_s - waited))
        return True

    # -- inside -------------------------------------------------------------------------------------------------

    def _start(self, kind: int, payload: bytes, job_id: str) -> _Running | None:
        """Open the spool and start the threads, at the first report of this process."""
        with self._lock:
            if self._running is not None:
                return self._running
            if self._closed:
                self._lost += 1
                return None
            if self._opening:  # a signal handler, or a logger called by what we call
                if len(self._early) < MAX_EARLY:
                    self._early.append((kind, payload, job_id))
                return None
            try:
                self._opening = True
                endpoint = look_up(self._source)
                running = _Running(self, self._open_spool(endpoint), endpoint)
                running.poll.listen(on=self._on_command is not None)
                self._running = running
            finally:
                self._opening = False
        atexit.register(self._at_exit)
        _at_exit_of_child(self)
        while self._early:
            self._put(*self._early.popleft())
        return running

    def _open_spool(self, endpoint: Endpoint | None) -> FileSpool | MemorySpool:
        from etlmon.host import paths

        producer = new_producer()
        try:
            directory = Path(self._spool_dir) if self._spool_dir is not None else paths.spool_dir()
            why = unusable(directory)
            if why is None:
                header = header_for(endpoint, source=self._kind, pid=os.getpid(), now=now_ms())
                return FileSpool.create(directory, header, producer, self._limits)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the next report must not meet it again
            why = f"{type(fault).__name__}: {fault}"
        warn_once("spool.memory", f"etlmon: reports are held in memory only: {why}")
        return MemorySpool(producer, self._limits)

    def _on_endpoint(self, endpoint: Endpoint) -> None:
        """The server was found elsewhere, or with another token: what waits in the spool is meant for it now."""
        running = self._running
        if running is None:
            return
        running.endpoint = endpoint
        if isinstance(running.spool, FileSpool):
            running.spool.mark.write_header(header_for(endpoint, source=self._kind, pid=os.getpid(), now=now_ms()))

    def _place(self) -> tuple[Endpoint, str] | None:
        """Where and as whom to ask for commands; None while the server has not acknowledged anything."""
        running = self._running
        if running is None or running.endpoint is None or not running.sender.reached:
            return None
        return running.endpoint, running.spool.producer

    def _dispatch(self, items: list[dict[str, Any]]) -> None:
        """Hand each command on once: the server repeats it until a report names it."""
        from etlmon.sdk.transport import commands_of

        function = self._on_command
        for command in commands_of(items):
            with self._lock:
                if function is None or command.id in self._seen:
                    continue
                self._seen[command.id] = None
                while len(self._seen) > MAX_SEEN:
                    self._seen.popitem(last=False)
            harmless(function)(command)

    def _tick(self) -> None:
        running = self._running
        if running is not None and self._losses and monotonic_s() - self._told_at > TELL_LOSSES_S:
            self._told_at = monotonic_s()
            self._tell_losses(running)
        if self._on_ticks is not None:
            harmless(self._on_ticks)()

    def _live(self) -> list[dict[str, Any]]:
        return [] if self._live_states is None else harmless(self._live_states)() or []

    def _at_exit(self) -> None:
        if self._pid == os.getpid():
            harmless(self.close)(EXIT_S)

    def _after_fork(self) -> None:
        """In a forked child: the parent's spool, locks and threads are not ours; begin as a producer of our own."""
        running = self._running
        self._fresh()
        if running is not None:
            running.spool.abandon()
            running.poll.abandon()
            running.sender.abandon()


def _as_source(endpoint: Endpoint | EndpointSource | None) -> EndpointSource:
    if endpoint is None:
        return discover
    return endpoint if callable(endpoint) else lambda: endpoint


def _at_exit_of_child(reporter: Reporter) -> None:
    """A multiprocessing child leaves by ``os._exit`` and runs no atexit functions, but it runs these."""
    processes, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if processes is not None and util is not None and processes.parent_process() is not None:
        util.Finalize(reporter, reporter._at_exit, exitpriority=0)


def _after_fork_in_child() -> None:
    for reporter in list(_alive):
        harmless(reporter._after_fork)()


os.register_at_fork(after_in_child=_after_fork_in_child)
