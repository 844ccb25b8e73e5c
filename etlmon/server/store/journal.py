"""The journal's rows: an event with the job after it and what differed before, and notices of what is not a job."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Union

import msgspec
from msgspec import UNSET, UnsetType

from etlmon.core.events import Event, JobChange, Notice
from etlmon.core.job import Job

if TYPE_CHECKING:
    from etlmon.server.store.logs.settings import BlockRef

APPEND = "INSERT INTO journal (seq, at, job_id, kind, body) VALUES (?, ?, ?, ?, ?)"
"""One accepted fact."""
APPEND_RUN = "INSERT INTO log_run (seq, n, at, file, block) VALUES (?, ?, ?, ?, ?)"
"""The commit of some lines of a log block."""
NAMES = "SELECT 1 FROM log_run WHERE seq = ?"
"""Whether lines that begin with a number were committed."""
EVENTS_AFTER = "SELECT seq, job_id, body FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
"""Facts after a cursor, of jobs and of everything else."""
NOTICES_AFTER = (
    "SELECT seq, job_id, body FROM journal WHERE job_id IS NULL AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
"""Facts after a cursor that are not about a job."""
SAMPLES_AFTER = """
SELECT seq, body FROM job CROSS JOIN job_body USING (key) WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?
"""
"""Jobs whose newest change lies after a cursor."""
EVENTS_OF_JOB = "SELECT seq, body FROM journal WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?"
"""One job's part of the journal."""

_fields = msgspec.structs.fields(Job)
if TYPE_CHECKING:
    Before = Any
else:
    Before = msgspec.defstruct(
        "Before",
        [(field.name, Union[field.type, UnsetType], UNSET) for field in _fields],  # noqa: UP007 - built at run time
        rename="camel",
        kw_only=True,
        frozen=True,
        omit_defaults=True,
    )
    """The fields of a job that were otherwise before a change, and only those."""
_names = tuple(field.name for field in _fields)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A journal row's body about a job. ``before`` is None when the job is new, ``after`` when there is none."""

    event: Event
    after: Job | None = None
    before: Before | None = None


class Journaled(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of one job's journal, with its number and the job after it."""

    seq: int
    event: Event
    after: Job | None


_decoder = msgspec.json.Decoder(Entry)
_notices = msgspec.json.Decoder(Notice)
_encoder = msgspec.json.Encoder()

Row = tuple[int, int, str | None, str, bytes]


def event_row(seq: int, event: Event, before: Job | None, after: Job | None) -> Row:
    """The row of an event. Raises for text or numbers that JSON cannot carry."""
    entry = Entry(event, after, None if before is None or after is None else difference(before, after))
    at = event.at if after is None else after.updated_at
    return seq, at, event.job_id, event.kind.value, _encoder.encode(entry)


def notice_row(notice: Notice) -> Row:
    """The row of a notice."""
    return notice.seq, notice.at, None, notice.type, _encoder.encode(notice)


def difference(before: Job, after: Job) -> Any:
    """What of ``before`` is not so in ``after``."""
    changed: dict[str, Any] = {}
    for name in _names:
        old = getattr(before, name)
        new = getattr(after, name)
        if old is not new and old != new:
            changed[name] = old
    return Before(**changed)


def job_before(after: Job, before: Any) -> Job:
    """The job that ``difference`` was taken from."""
    changed = {name: value for name in _names if (value := getattr(before, name)) is not UNSET}
    return msgspec.structs.replace(after, **changed)


def change_of(seq: int, body: bytes) -> JobChange | None:
    """The committed change that a row tells of; None when it has no job to show."""
    entry = _decoder.decode(body)
    after = entry.after
    if after is None:
        return None
    before = None if entry.before is None else job_before(after, entry.before)
    return JobChange(seq=seq, at=after.updated_at, before=before, after=after, event=entry.event)


def notice_of(body: bytes) -> Notice:
    """The notice that a row tells of."""
    return _notices.decode(body)


def journaled(seq: int, body: bytes) -> Journaled:
    """A row for one job's page of events."""
    entry = _decoder.decode(body)
    return Journaled(seq=seq, event=entry.event, after=entry.after)


def runs_of(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(first seq, count) of consecutive numbers, with neighbours that touch made one."""
    joined = list[tuple[int, int]]()
    for first, n in runs:
        if joined and sum(joined[-1]) == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + n)
        else:
            joined.append((first, n))
    return joined


def append_runs(db: sqlite3.Connection, runs: list[tuple[int, int]], at: int, block: BlockRef) -> None:
    """Name the block that holds these runs of lines: this is their commit."""
    db.executemany(APPEND_RUN, [(first, n, at, block.file, block.block) for first, n in runs])


def append_rows(db: sqlite3.Connection, rows: list[Row]) -> None:
    """Write buffered rows."""
    db.executemany(APPEND, rows)
