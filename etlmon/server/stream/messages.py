"""Committed items → the bytes that viewers get. Each item is encoded at most once, however many groups share it;
a group adds its ``ch``, a frame its header. Nothing here knows of a connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from etlmon.core.events import EventKind, Item, JobChange, LogRun, Notice
from etlmon.core.forecast import forecast
from etlmon.core.instants import format_instant, format_optional
from etlmon.core.job import Failure, Health, Job, LogLine, Outcome, Record, Status
from etlmon.core.protocol import MessageType
from etlmon.core.views import ControlPendingView, Estimate, log_entry, shown_control, shown_metrics

encode = msgspec.json.Encoder().encode

Parts = tuple[bytes, bytes]
"""A message without its ``ch``: what stands before the number, and after."""


class JobUpdate(Record, frozen=True, kw_only=True):
    """The data of ``job_status_update`` and ``job_progress``: interface.md's key list."""

    job_id: str
    name: str
    type: str
    status: Status
    previous_status: Status | UnsetType | None = UNSET
    progress_percent: float | None
    current_step: str | None
    step_index: int | None
    error_message: str | None
    failure: Failure | None
    metrics: dict[str, Any]
    estimate: Estimate
    health: Health | None
    owner: str | None
    control_pending: ControlPendingView | None
    updated_at: str
    execution_time_ms: int | None
    summary: dict[str, Any] | UnsetType | None = UNSET
    durable: bool | UnsetType = UNSET


class StatusUpdate(JobUpdate, frozen=True, kw_only=True):
    """The data of ``job_status_update``: also what changes with a status only, so that a viewer knows the whole job."""

    outcome: Outcome | None
    steps: tuple[str, ...]
    tags: dict[str, str]
    host: str | None
    source: str | None
    priority: int
    attempt: int
    retry_of: str | None
    parent_id: str | None
    after: tuple[str, ...]
    created_at: str
    run_at: str | None
    started_at: str | None
    finished_at: str | None
    paused_at: str | None
    paused_by: ControlPendingView | None
    last_failure: Failure | None


class MetricsUpdate(Record, frozen=True, kw_only=True):
    """The data of ``metrics_update``."""

    job_id: str
    name: str
    type: str
    status: Status
    metrics: dict[str, Any]
    health: Health | None
    updated_at: str
    execution_time_ms: int | None


def job_update(job: Job, now: int, *, durable: bool = True) -> JobUpdate:
    """The live part of ``job`` at ``now``. Made for every sample: the keys are named, not gathered in a dict first."""
    outlook = forecast(job, now)
    return JobUpdate(
        job_id=job.id,
        name=job.name,
        type=job.type,
        status=job.status,
        progress_percent=job.progress_percent,
        current_step=job.current_step,
        step_index=job.step_index,
        error_message=job.failure.message if job.failure is not None else None,
        failure=job.failure,
        metrics=shown_metrics(job, now),
        estimate=Estimate(
            low=format_optional(outlook.low_at), high=format_optional(outlook.high_at), basis=outlook.basis
        ),
        health=job.health,
        owner=job.owner,
        control_pending=shown_control(job.control_pending),
        updated_at=format_instant(job.updated_at),
        execution_time_ms=job.execution_ms(now),
        summary=job.summary if job.is_final else UNSET,
        durable=UNSET if durable else False,
    )


def status_update(job: Job, now: int, *, previous: Status | None, durable: bool = True) -> StatusUpdate:
    """``job`` at ``now``, whose status was ``previous`` (None: unknown or new)."""
    live = asdict(job_update(job, now, durable=durable))
    return StatusUpdate(
        **(live | {"previous_status": previous}),
        outcome=job.outcome,
        steps=job.steps,
        tags=job.tags,
        host=job.host,
        source=job.source,
        priority=job.priority,
        attempt=job.attempt,
        retry_of=job.retry_of,
        parent_id=job.parent_id,
        after=job.after,
        created_at=format_instant(job.created_at),
        run_at=format_optional(job.run_at),
        started_at=format_optional(job.started_at),
        finished_at=format_optional(job.finished_at),
        paused_at=format_optional(job.paused_at),
        paused_by=shown_control(job.paused_by),
        last_failure=job.last_failure,
    )


def metrics_update(job: Job, now: int) -> MetricsUpdate:
    """The measurements of ``job`` at ``now``."""
    return MetricsUpdate(
        job_id=job.id,
        name=job.name,
        type=job.type,
        status=job.status,
        metrics=shown_metrics(job, now),
        health=job.health,
        updated_at=format_instant(job.updated_at),
        execution_time_ms=job.execution_ms(now),
    )


def is_status_change(before: Job | None, after: Job) -> bool:
    """Whether a change is told as ``job_status_update`` (interface.md, Types)."""
    return (
        before is None
        or before.status is not after.status
        or before.attempt != after.attempt
        or before.failure != after.failure
        or before.owner != after.owner
        or before.priority != after.priority
        or before.control_pending != after.control_pending
    )


def parts(kind: str, at: int, seq: int | None, data: bytes) -> Parts:
    """A message around ``data`` (JSON), open at its ``ch``."""
    number = b"null" if seq is None else b"%d" % seq
    head = b'{"type":"%b","timestamp":"%b","seq":%b,"ch":' % (kind.encode(), format_instant(at).encode(), number)
    return head, b',"data":%b}' % data


def message(kind: MessageType, at: int, data: Any, *, ch: int | None = None, seq: int | None = None) -> bytes:
    """A whole message."""
    head, tail = parts(kind, at, seq, encode(data))
    return head + (b"null" if ch is None else b"%d" % ch) + tail


class ChangeEntry:
    """A committed change of a job, and its messages once somebody wanted them.

    ``replayed``: read back from the store, where a sample's ``before`` is not kept. ``durable=False``: not committed;
    its messages have no ``seq``, and only its first is sure to tell a change of status.
    """

    __slots__ = (
        "_gap",
        "_gone",
        "_metrics",
        "_update",
        "before_unknown",
        "change",
        "durable",
        "is_gap",
        "is_status",
        "last_seq",
        "size",
    )

    def __init__(self, change: JobChange, *, replayed: bool = False, durable: bool = True) -> None:
        self.change = change
        self.last_seq = change.seq
        self.size = 1
        self.durable = durable
        self.before_unknown = change.before is None and change.event is None and (replayed or not durable)
        self.is_status = not (self.before_unknown and durable) and is_status_change(change.before, change.after)
        self.is_gap = change.event is not None and change.event.kind is EventKind.GAP
        self._gap: Parts | None = None
        self._update: Parts | None = None
        self._gone: Parts | None = None
        self._metrics: Parts | None = None

    @property
    def type(self) -> MessageType:
        """Which of the two job messages tells this change."""
        return MessageType.JOB_STATUS_UPDATE if self.is_status else MessageType.JOB_PROGRESS

    @property
    def seq(self) -> int | None:
        """The number that its messages carry."""
        return self.change.seq if self.durable else None

    def update(self) -> Parts:
        """``job_status_update`` or ``job_progress``."""
        if self._update is None:
            change = self.change
            if self.is_status:
                before = change.before.status if change.before is not None else None
                data: JobUpdate = status_update(change.after, change.at, previous=before, durable=self.durable)
            else:
                data = job_update(change.after, change.at, durable=self.durable)
            self._update = parts(self.type, change.at, self.seq, encode(data))
        return self._update

    def metrics(self) -> Parts:
        """``metrics_update``."""
        if self._metrics is None:
            data = encode(metrics_update(self.change.after, self.change.at))
            self._metrics = parts(MessageType.METRICS_UPDATE, self.change.at, self.seq, data)
        return self._metrics

    def gone(self) -> Parts:
        """``job_gone``."""
        if self._gone is None:
            data = encode({"jobId": self.change.after.id})
            self._gone = parts(MessageType.JOB_GONE, self.change.at, self.seq, data)
        return self._gone

    def gap(self) -> Parts:
        """``gap``: log lines that the job's agent gave up."""
        if self._gap is None:
            change = self.change
            detail = change.event.detail if change.event is not None else {}
            told = {key: detail.get(key) for key in ("dropped", "from", "to")}
            data = encode({"jobId": change.after.id, "name": change.after.name, **told})
            self._gap = parts(MessageType.GAP, change.at, self.seq, data)
        return self._gap


_message_of = attrgetter("message")


class LinesEntry:
    """Committed log lines, and the message of each once somebody wanted it."""

    __slots__ = ("_by_job", "_parts", "last_seq", "run", "size", "weight")

    def __init__(self, run: LogRun) -> None:
        self.run = run
        self.last_seq = run.last_seq
        self.size = len(run.lines)
        self.weight = sum(map(len, map(_message_of, run.lines)))
        self._parts: list[Parts | None] = [None] * len(run.lines)
        self._by_job: dict[str, list[LogLine]] | None = None

    def line(self, line: LogLine) -> Parts:
        """``log_message`` of one of the run's lines."""
        index = line.seq - self.run.seq
        made = self._parts[index]
        if made is None:
            made = parts(MessageType.LOG_MESSAGE, self.run.at, line.seq, encode(log_entry(line)))
            self._parts[index] = made
        return made

    def of_job(self, job_id: str) -> list[LogLine]:
        """The lines of one job, in order."""
        if self._by_job is None:
            self._by_job = {}
            for line in self.run.lines:
                self._by_job.setdefault(line.job_id, []).append(line)
        return self._by_job.get(job_id, [])


class NoticeEntry:
    """A change of something that is not a job. Without a ``seq`` when it was not committed (a measurement)."""

    __slots__ = ("_parts", "last_seq", "notice", "size")

    def __init__(self, notice: Notice, *, durable: bool = True) -> None:
        self.notice = notice
        self.last_seq = notice.seq
        self.size = 1
        self._parts = parts(notice.type, notice.at, notice.seq if durable else None, encode(notice.data))

    def parts(self) -> Parts:
        """Its message."""
        return self._parts


Entry = ChangeEntry | LinesEntry | NoticeEntry


def entry_of(item: Item, *, replayed: bool = False) -> Entry:
    """The entry of a committed item."""
    if isinstance(item, JobChange):
        return ChangeEntry(item, replayed=replayed)
    if isinstance(item, LogRun):
        return LinesEntry(item)
    return NoticeEntry(item)


def text_frame(payload: bytes) -> bytes:
    """An unmasked WebSocket text frame (RFC 6455 §5.2): the same bytes fit every client."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


def frames(messages: Iterable[bytes], *, batch: bool) -> bytes:
    """Messages as they go to the socket: one frame with an array, or a frame for each."""
    if batch:
        return text_frame(b"[%b]" % b",".join(messages))
    return b"".join(map(text_frame, messages))
