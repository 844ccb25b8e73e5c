"""Removing what retention no longer keeps, in slices that hold the writer for a few milliseconds each."""

from __future__ import annotations

import sqlite3
from collections.abc import Container

from etlmon.server.store import audit, producers

JOBS_SLICE = 50
"""Jobs in a slice (design.md, law 9: no stall of the writer above 50 ms): each sits in some twenty indexes."""
SLICE = 500
"""Other rows in a slice."""
LONG_SLICE = 5000
"""Small rows without an index, which lie side by side."""

OLD_JOBS = """
SELECT key, id, status FROM job
WHERE finished_at < ?1 AND final = 1 AND updated_at < ?1 ORDER BY finished_at LIMIT ?2
"""
"""Jobs that ended, and were last heard of, before an instant; oldest first."""
DROP_JOB = "DELETE FROM job WHERE key = ?"
"""One job."""
DROP_BODY = "DELETE FROM job_body WHERE key = ?"
"""Its body."""
DROP_TAGS = "DELETE FROM job_tag WHERE key = ?"
"""Its tags."""
DROP_COMMANDS = "DELETE FROM command WHERE job_id = ?"
"""What was asked of it."""
DROP_WORK = "DELETE FROM work WHERE job_id = ?"
"""What it was to do."""
LAST_EVENT = "SELECT max(seq) FROM journal WHERE job_id = ?"
"""The newest journal row of a job that goes: a cursor before it would miss it."""
DROP_EVENTS = "DELETE FROM journal WHERE job_id = ?"
"""A job's part of the journal."""
UNCOUNT = "UPDATE job_count SET n = n - ? WHERE status = ?"
"""Fewer jobs stand in a status."""
OLD_ROWS = "SELECT seq, at FROM journal ORDER BY seq LIMIT ?"
"""The head of the journal: rows are in the order of their instants, but for a clock that was set back."""
DROP_ROWS = "DELETE FROM journal WHERE seq <= ?"
"""The journal up to a number."""
DROP_RUNS = """
DELETE FROM log_run WHERE seq IN (SELECT seq FROM log_run WHERE seq <= ? ORDER BY seq LIMIT ?)
"""
"""The commits of log lines that are gone with their day file."""
DROP_SETTLED = """
DELETE FROM command WHERE id IN (SELECT id FROM command WHERE settled_at < ? ORDER BY settled_at LIMIT ?)
"""
"""Commands that were settled before an instant."""


def prune_jobs(db: sqlite3.Connection, before: int, limit: int, busy: Container[str]) -> tuple[list[str], int]:
    """Remove old jobs but for the ``busy``; their ids, and the newest journal number that went with them."""
    last_seq, ids, counts = 0, list[str](), dict[str, int]()
    for key, job_id, status in db.execute(OLD_JOBS, (before, limit)).fetchall():
        if job_id in busy:
            continue
        (seq,) = db.execute(LAST_EVENT, (job_id,)).fetchone()
        last_seq = max(last_seq, seq or 0)
        db.execute(DROP_EVENTS, (job_id,))
        db.execute(DROP_COMMANDS, (job_id,))
        db.execute(DROP_WORK, (job_id,))
        db.execute(DROP_TAGS, (key,))
        db.execute(DROP_BODY, (key,))
        db.execute(DROP_JOB, (key,))
        counts[status] = counts.get(status, 0) + 1
        ids.append(job_id)
    db.executemany(UNCOUNT, [(n, status) for status, n in counts.items()])
    return ids, last_seq


def prune_journal(db: sqlite3.Connection, before: int, limit: int) -> tuple[int, int]:
    """Remove the oldest rows while they are older than ``before``; how many, and the newest number that went."""
    last_seq = 0
    for seq, at in db.execute(OLD_ROWS, (limit,)):
        if at >= before:
            break
        last_seq = seq
    if last_seq == 0:
        return 0, 0
    return db.execute(DROP_ROWS, (last_seq,)).rowcount, last_seq


def prune_rest(db: sqlite3.Connection, before: int, limit: int) -> int:
    """Remove old settled commands, silent producers and audit lines; how many rows."""
    return sum(db.execute(sql, (before, limit)).rowcount for sql in (DROP_SETTLED, producers.PRUNE, audit.PRUNE))


def prune_log_runs(db: sqlite3.Connection, oldest_seq: int, limit: int) -> int:
    """Remove the commits of log lines up to a number; how many rows."""
    return db.execute(DROP_RUNS, (oldest_seq, limit)).rowcount
