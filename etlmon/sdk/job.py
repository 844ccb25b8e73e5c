"""The SDK's face: ``etlmon.job`` opens a job, and what the program does with it becomes reports.

Nothing here waits for a server or raises because of one; the only exception that ever leaves is JobCancelled.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import Token
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, TypeVar, overload

from etlmon.host.clock import monotonic_s, new_id
from etlmon.sdk import command_pipe, process
from etlmon.sdk.arguments import (
    metrics_of,
    milliseconds,
    names_of,
    percent_of,
    summary_of,
    tags_of,
    text_of,
    whole_number,
)
from etlmon.sdk.control import Control, JobCancelled
from etlmon.sdk.failures import ending_of, failure_of
from etlmon.sdk.guard import harmless, warn_once
from etlmon.sdk.job_log import JobLog
from etlmon.sdk.loops import Loops
from etlmon.sdk.plan import Plan
from etlmon.sdk.reporter import Reporter
from etlmon.sdk.samples import Samples
from etlmon.sdk.step import Step
from etlmon.sdk.track import Loop, length_of, tracked, tracked_async
from etlmon.sdk.vitals import Vitals

__all__ = ["Job", "JobCancelled", "current_job", "job"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

HEARTBEAT_S: Final = 15.0
VITALS_S: Final = 5.0
POOL_S: Final = 1.0
"""The longest that the end of a job in a multiprocessing worker waits for the server to take it."""
VITALS_LEAST_S: Final = 1.0
"""A job that ends is sampled once more, unless it was a moment ago."""


def job(
    name: str,
    *,
    type: str = "python",
    owner: str | None = None,
    tags: Mapping[str, Any] | None = None,
    steps: Iterable[str] | None = None,
    total: int | None = None,
    expected: float | timedelta | str | None = None,
    timeout: float | timedelta | str | None = None,
    config: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Job:
    """A job, as a context manager (``with`` and ``async with``) and as a decorator of any kind of function.

    ``steps`` are the names of its phases in order, ``total`` how many records it will process; ``expected`` and
    ``timeout`` are seconds, a timedelta or text such as ``"25m"``. ``reporter`` is for tests and unusual programs.
    """
    plan = Plan(
        name=text_of(name),
        type=text_of(type),
        owner=None if owner is None else text_of(owner),
        tags=tags_of(tags),
        steps=names_of(steps),
        total=whole_number("total", total),
        expected_ms=milliseconds("expected", expected),
        timeout_ms=milliseconds("timeout", timeout),
        config=dict(config) if isinstance(config, Mapping) else None,
        reporter=reporter,
    )
    return Job(plan)


def current_job() -> Job | None:
    """The job that this thread or task works for; else the process's only open one; else None."""
    return process.job_here()


class Job:
    """One execution, from ``start`` (or ``with``) to its end. Its methods may be called from any thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.log = JobLog(self)
        """Say lines of this job: ``job.log.warning("…", key=value)``."""
        self._begin()

    def _begin(self) -> None:
        self.id = new_id()
        """The job's id, as the server knows it."""
        self.joined = False
        """Whether this is the wrapper's job (``etlmon run``, a worker) rather than one of our own."""
        self.is_open = False
        self.parent: Job | None = None
        self._reporter: Reporter | None = None
        self._pid = os.getpid()
        self.fencing_token: int | None = None
        """What a worker's job carries in every report."""
        self._token: Token[Job | None] | None = None
        self.current_step: str | None = None
        """The step that is open."""
        self._summary: dict[str, Any] = {}
        self._lock = threading.RLock()
        self.loops = Loops(self)
        """The tracked loops that are open."""
        self._samples = Samples(self._report, lambda: self.reporter.is_away)
        self._reported_at = 0.0
        self._vitals: Vitals | None = None
        self._vitals_at = 0.0
        self.control = Control(self._report, self.loops.hurry)

    @property
    def name(self) -> str:
        """The recurring name under which history is kept."""
        return self._plan.name

    @property
    def reporter(self) -> Reporter:
        """What takes this job's reports."""
        return self._reporter or self._plan.reporter or process.reporter()

    @property
    def obeys(self) -> bool:
        """Whether controls of the job are this process's to obey: its own, or one that its worker hands them on for."""
        return self.is_ours or (self.joined and self._pid == os.getpid() and command_pipe.is_open())

    @property
    def is_ours(self) -> bool:
        """Whether this process obeys for it and ends it: not a joined job, not one that a parent process opened."""
        return not self.joined and self._pid == os.getpid()

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> Job:
        """Open the job, where ``with`` does not fit. End it with ``complete`` or ``fail``."""
        self._start(process.current.get())
        return self

    @harmless
    def _start(self, around: Job | None) -> None:
        if self.is_open:
            return
        self._begin()
        self._reporter = self.reporter
        self.parent = around if around is not None and around.is_open else None
        wrapped = os.environ.get("ETLMON_JOB_ID")
        if wrapped and self.parent is None:
            self._join(wrapped)
        self.is_open = True
        self._vitals_at = self._reported_at = monotonic_s()
        if not self.joined:
            self._vitals = Vitals()
            self._report(self._plan.started(self.parent.id if self.parent is not None else None))
        process.enter(self)
        if self.joined:
            command_pipe.listen(process.obey)
            if self.total is not None:
                self.measure({"recordsTotal": self.total})

    def _join(self, job_id: str) -> None:
        self.id = job_id
        self.joined = True
        token = os.environ.get("ETLMON_FENCING_TOKEN", "")
        self.fencing_token = int(token) if token.isascii() and token.isdigit() else None

    def complete(self) -> None:
        """The job is done."""
        self.end(None)

    @harmless
    def fail(self, error: BaseException | str = "failed") -> None:
        """End the job as failed, without an exception that leaves the block."""
        failure = (
            failure_of(error) if isinstance(error, BaseException) else {"kind": "error", "message": text_of(error)}
        )
        self._close({"kind": "failed", "failure": failure})

    @harmless
    def abandoned(self) -> None:
        """The process ends and the job was never ended."""
        failure = {"kind": "error", "message": "the process ended without ending the job"}
        self._close({"kind": "failed", "failure": failure})

    @harmless
    def end(self, error: BaseException | None) -> None:
        """End the job as ``with`` does: completed without an ``error``, else as that says."""
        self._close(ending_of(error))

    def _close(self, final: dict[str, Any]) -> None:
        with self._lock:
            if not self.is_open:
                return
            if self._vitals is not None and self.is_ours and monotonic_s() - self._vitals_at >= VITALS_LEAST_S:
                self._samples.put({}, self._vitals.sample())
            self._samples.send()
            if final["kind"] == "completed" and self.current_step is not None:
                self.finish_step(self.current_step)
            self.is_open = False
        self.control.release()
        process.leave(self)
        if self.joined:
            if final["kind"] == "failed" and "traceback" not in final["failure"]:
                self.say(
                    "error", final["failure"]["message"]
                )  # the wrapper alone ends the job, and knows only the exit
            return
        if self._pid != os.getpid():
            return  # a forked child came to the end of its parent's block: that is the parent's to say
        if final["kind"] == "failed":
            final["failure"]["step"] = self.current_step
            self.say("critical", f"failed: {final['failure']['message']}")  # who reads the log alone learns it too
        if final["kind"] == "cancelled" and self.control.cancel is not None:
            final["commandId"] = self.control.cancel.id
        self._report({**final, "summary": self._summary or None})

    def __enter__(self) -> Job:
        self.start()
        self._token = process.current.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: TracebackType | None) -> None:
        self._reset_current()
        self.end(error)
        self._hand_over()

    @harmless
    def _hand_over(self) -> None:
        """In a multiprocessing worker: let the end go out now, for the pool ends its workers by SIGTERM."""
        module = sys.modules.get("multiprocessing.process")
        if module is None or module.parent_process() is None:
            return
        if not self.reporter.is_away:
            self.reporter.flush(POOL_S)

    async def __aenter__(self) -> Job:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, at: TracebackType | None) -> None:
        self._reset_current()
        self.end(error)

    @harmless
    def _reset_current(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            try:
                process.current.reset(token)
            except ValueError:  # entered in another context, as a generator's block may be
                if process.current.get() is self:
                    process.current.set(self.parent)

    def __call__(self, function: F) -> F:
        """Decorate any kind of function: each call is a job of its own."""
        from etlmon.sdk.decorate import decorated

        plan = self._plan
        return decorated(function, lambda: Job(plan))

    # -- what the job tells -------------------------------------------------------------------------------------

    @overload
    def track(self, items: Iterable[T], *, step: str | None = None, total: int | None = None) -> Iterator[T]: ...

    @overload
    def track(
        self, items: AsyncIterable[T], *, step: str | None = None, total: int | None = None
    ) -> AsyncIterator[T]: ...

    def track(
        self, items: Iterable[T] | AsyncIterable[T], *, step: str | None = None, total: int | None = None
    ) -> Iterator[T] | AsyncIterator[T]:
        """Iterate over ``items`` (``for`` or ``async for``) and report how many are done, at most ten times a second.

        ``total`` when the items cannot tell their number; ``step`` begins a step and finishes it at the end. Each look
        at the clock is a checkpoint as well. Of loops inside each other the outermost counts.
        """
        loop = Loop(self.loops, step, whole_number("total", total if total is not None else length_of(items)))
        if isinstance(items, AsyncIterable):
            return tracked_async(items, loop, self.acheckpoint)
        return tracked(items, loop, self._pass_by)

    def step(self, name: str) -> Step:
        """Begin a step; the one before is finished. ``with job.step("load"):`` also finishes this one."""
        text = text_of(name)
        self.start_step(text)
        return Step(self, text)

    @harmless
    def start_step(self, name: str) -> None:
        """Begin the step ``name``, and finish the one that is open, if it is another."""
        with self._lock:
            if not self.is_open or self.current_step == name:
                return
            if self.current_step is not None:
                self.finish_step(self.current_step)
            self._samples.send()
            self.current_step = name
            self._report({"kind": "step_started", "step": name})

    @harmless
    def finish_step(self, name: str) -> None:
        """Finish the step ``name``, if it is the one that is open."""
        with self._lock:
            if not self.is_open or self.current_step != name:
                return
            self._samples.send()
            self.current_step = None
            counted = self.known.get("recordsProcessed")
            metrics = None if counted is None else {"recordsProcessed": counted}
            self._report({"kind": "step_finished", "step": name, "metrics": metrics})

    @harmless
    def progress(
        self,
        current: int | None = None,
        total: int | None = None,
        percent: float | None = None,
        step: str | None = None,
    ) -> None:
        """How far the job is: records done and in all, or percent. Calls closer than 0.1 s are put together."""
        if step is not None:
            self.start_step(text_of(step))
        found = {
            "recordsProcessed": whole_number("current", current),
            "recordsTotal": whole_number("total", total),
            "progressPercent": percent_of(percent),
        }
        self.measure({key: value for key, value in found.items() if value is not None})

    @harmless
    def metrics(self, **values: Any) -> None:
        """Merge measurements into the job's metrics; known ones may be spelled as in Python (``records_failed=3``)."""
        clean = metrics_of(values)
        if clean:
            self.measure({}, clean)

    @harmless
    def summary(self, **entries: Any) -> None:
        """Add entries to what the job leaves behind (``records_in``, ``records_out``, ``outputs``, or your own)."""
        self._summary.update(summary_of(entries))

    @harmless
    def say(
        self,
        level: str,
        message: str,
        *,
        at: int | None = None,
        logger: str | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        """One log line of this job (see ``log`` for the usual way)."""
        self.reporter.log(
            self.id,
            level,
            message,
            at=at,
            logger=logger,
            step=self.current_step,
            fields=fields or None,
            fencing_token=self.fencing_token,
        )

    # -- control ------------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Stand still here while an operator has paused the job; raises JobCancelled when one has cancelled it.

        In a coroutine use ``acheckpoint``: here the event loop would stand still, so a pause is not obeyed in one.
        """
        if self.control.wanted:
            self._pass_by()

    async def acheckpoint(self) -> None:
        """As ``checkpoint``, in a coroutine: only this task stands still."""
        if self.control.wanted:
            await self.control.acheckpoint()

    def _pass_by(self) -> None:
        if self.control.wanted:
            in_loop = _in_event_loop()
            if in_loop:
                warn_once("checkpoint.loop", "etlmon: to pause inside a coroutine, await job.acheckpoint()")
            self.control.checkpoint(may_wait=not in_loop)

    # -- samples ------------------------------------------------------------------------------------------------

    @property
    def known(self) -> dict[str, Any]:
        """Of the fields of ``progress`` reports, the newest of each."""
        return self._samples.known

    @property
    def total(self) -> int | None:
        """How many records it was opened for, when that is known."""
        return self._plan.total

    def measure(self, fields: dict[str, Any], metrics: dict[str, Any] | None = None, *, now: bool = False) -> None:
        """Take in fields of a ``progress`` report and metrics; with ``now`` they are told at once."""
        if self.is_open:
            self._samples.put(fields, metrics, now=now)

    def tick(self) -> None:
        """What the sender thread sees to: samples that wait, heartbeats, and what the process uses."""
        if not self.is_open or self._pid != os.getpid():
            return
        now = monotonic_s()
        self.loops.hurry(only_overdue=True)
        if self._vitals is not None and now - self._vitals_at >= VITALS_S:
            self._vitals_at = now
            self.measure({}, self._vitals.sample())
        if self._samples.due:
            self._samples.send()
        if not self.joined and now - self._reported_at >= HEARTBEAT_S:
            self._report({"kind": "heartbeat"})

    def live_state(self) -> dict[str, Any]:
        """Where the job stands, as a dict of Job keys."""
        return {
            "id": self.id,
            "name": self._plan.name,
            "type": self._plan.type,
            "status": "paused" if self.control.paused else "running",
            "currentStep": self.current_step,
            **self._samples.state(self.total),
        }

    def _report(self, content: dict[str, Any]) -> None:
        self._reported_at = monotonic_s()
        self.reporter.report({**content, "jobId": self.id, "fencingToken": self.fencing_token})

    def after_fork(self) -> None:
        """In a forked child: locks that another thread of the parent may have held are not ours."""
        self._lock = threading.RLock()
        self.loops.after_fork()
        self._samples = Samples(self._report, lambda: self.reporter.is_away)
        self.control = Control(self._report, self.loops.hurry)


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
