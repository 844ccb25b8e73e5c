"""What was committed after a cursor, page by page, for readers that resume or fell behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlmon.core.events import Item, JobChange, LogRun
from etlmon.core.job import Job, LogLine
from etlmon.server.store import jobs, journal
from etlmon.server.store.readers import Readers, Rows

if TYPE_CHECKING:
    from etlmon.server.store.logs.store import LogStore

BODIES_BY_ID = "SELECT id, body FROM job JOIN job_body USING (key) WHERE id IN ({marks})"
"""The jobs that some log lines belong to."""


async def items_after(
    readers: Readers, logs: LogStore, after: int, upto: int, limit: int, *, want_jobs: bool, want_logs: bool
) -> tuple[list[Item], int]:
    """Events (with what differed before), the newest sample of each job that changed, notices and log lines, with
    ``after`` < seq <= reached <= ``upto``, in seq order. At most ``limit`` of each are read: ``reached`` says how far.
    """
    reached = upto
    query = journal.EVENTS_AFTER if want_jobs else journal.NOTICES_AFTER
    facts = await readers.fetch(query, (after, reached, limit))
    if len(facts) == limit:
        reached = facts[-1][0]
    samples: Rows = []
    if want_jobs:
        samples = await readers.fetch(journal.SAMPLES_AFTER, (after, reached, limit))
        if len(samples) == limit:
            reached = samples[-1][0]
    runs: list[list[LogLine]] = []
    if want_logs:
        runs = await logs.runs(after, reached, limit)
        if sum(map(len, runs)) >= limit:
            reached = runs[-1][-1].seq
    items: list[Item] = [*_changes(facts, samples, reached), *(await _log_runs(readers, runs))]
    items.sort(key=lambda item: item.seq)
    return items, reached


def _changes(facts: Rows, samples: Rows, reached: int) -> list[Item]:
    items: list[Item] = []
    journaled = set()
    for seq, job_id, body in facts:
        journaled.add(seq)
        if seq <= reached:
            item = journal.notice_of(body) if job_id is None else journal.change_of(seq, body)
            if item is not None:
                items.append(item)
    for seq, body in samples:
        if seq <= reached and seq not in journaled:
            after = jobs.decode(body)
            items.append(JobChange(seq=seq, at=after.updated_at, before=None, after=after))
    return items


async def _log_runs(readers: Readers, runs: list[list[LogLine]]) -> list[LogRun]:
    if not runs:
        return []
    known = await bodies_by_id(readers, {line.job_id for lines in runs for line in lines})
    made = []
    for lines in runs:
        named = {job_id: known[job_id] for job_id in {line.job_id for line in lines} if job_id in known}
        made.append(LogRun(seq=lines[0].seq, at=lines[-1].at, lines=lines, jobs=named))
    return made


async def bodies_by_id(readers: Readers, ids: set[str]) -> dict[str, Job]:
    """The jobs of these ids that exist."""
    rows = await readers.fetch(BODIES_BY_ID.format(marks=", ".join("?" * len(ids))), tuple(ids))
    return {job_id: jobs.decode(body) for job_id, body in rows}
