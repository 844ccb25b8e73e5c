"""Retention removes in small slices, keeps every count right, and tells how far back a cursor may still reach."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from etlmon.core.events import EventKind
from etlmon.core.job import LogLine, Status
from etlmon.server.store import pruning
from etlmon.server.store.commands import Command
from etlmon.server.store.producers import ProducerMark

T0 = 1_763_865_407_000
DAY = 86_400_000


async def put_ended(opened: Any, ops: Any, make_job: Any, job_id: str, ended_at: int, **fields: Any) -> None:
    await opened.store.write(ops.put(make_job(job_id)))
    ended = {"status": Status.COMPLETED, "finished_at": ended_at, "updated_at": ended_at, "tags": {"env": "prod"}}
    await opened.store.write(ops.put(make_job(job_id, **{**ended, **fields}), EventKind.COMPLETED))


def rows_left(store: Any) -> dict[str, int]:
    db = sqlite3.connect(store.path)
    tables = ("job", "job_body", "job_tag", "journal", "command")
    found = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    db.close()
    return found


async def test_old_jobs_go_with_all_that_is_theirs(opened: Any, open_store: Any, ops: Any, make_job: Any) -> None:
    for n in range(5):
        await put_ended(opened, ops, make_job, f"old{n}", T0 + n)
    await put_ended(opened, ops, make_job, "young", T0 + DAY)
    await put_ended(opened, ops, make_job, "touched", T0, updated_at=T0 + DAY)
    await opened.store.write(ops.put(make_job("running")))
    await opened.store.write(
        lambda tx: tx.add_command(
            Command(id="c", job_id="old0", producer=None, action="cancel", reason=None, by=None, at=T0, settled_at=T0)
        )
    )
    head = opened.store.head

    removed = [await opened.store.write(lambda tx: tx.prune_jobs(T0 + 1000, 2)) for _ in range(4)]
    assert removed == [2, 2, 1, 0]
    assert await opened.store.counts_by_status() == {"completed": 2, "running": 1}
    assert rows_left(opened.store) == {"job": 3, "job_body": 3, "job_tag": 2, "journal": 5, "command": 0}
    assert opened.store.oldest == 10
    assert (await opened.store.items_after(10, head, 100))[0] == [item for item in opened.items if item.seq > 10]
    assert await opened.store.job("old0") is None

    await opened.store.close()
    assert (await open_store()).store.oldest == 10


async def test_a_pruned_job_that_is_heard_of_again_is_new(opened: Any, ops: Any, make_job: Any) -> None:
    await put_ended(opened, ops, make_job, "j1", T0)
    assert await opened.store.write(lambda tx: (tx.prune_jobs(T0 + 1), tx.job("j1"))) == (1, None)
    await opened.store.write(ops.put(make_job("j1")))
    assert opened.items[-1].before is None
    assert await opened.store.counts_by_status() == {"running": 1}


async def test_a_removal_that_fails_is_taken_back(opened: Any, ops: Any, make_job: Any) -> None:
    await put_ended(opened, ops, make_job, "j1", T0)

    def fails(tx: Any) -> None:
        tx.prune_jobs(T0 + 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await opened.store.write(fails)
    assert (await opened.store.write(lambda tx: tx.job("j1"))).status is Status.COMPLETED
    assert opened.store.oldest == 0


async def test_the_journal_ends_where_its_age_does(opened: Any, ops: Any, make_job: Any) -> None:
    for n in range(6):
        await opened.store.write(ops.put(make_job("j1", updated_at=T0 + n)))
    assert [await opened.store.write(lambda tx: tx.prune_journal(T0 + 4, 3)) for _ in range(3)] == [3, 1, 0]
    assert opened.store.oldest == 4
    items, _ = await opened.store.items_after(opened.store.oldest, opened.store.head, 10)
    assert [item.seq for item in items] == [5, 6]


async def test_a_slice_is_never_larger_than_its_bound(opened: Any, ops: Any, make_job: Any) -> None:
    for n in range(pruning.SLICE + 5):
        await opened.store.write(ops.put(make_job("j1", updated_at=T0 + n)))
    assert await opened.store.write(lambda tx: tx.prune_journal(T0 + DAY, 1_000_000)) == pruning.SLICE


async def test_what_is_settled_silent_or_long_done_goes_and_the_rest_stays(opened: Any) -> None:
    def fill(tx: Any) -> None:
        for name, at in (("old", T0), ("new", T0 + DAY)):
            tx.put_producer(ProducerMark(id=name, token_id=None, seq=1, hash=b"", at=at))
            tx.audit(at=at, actor="ana", action="job.cancel", subject=name, detail={})
            for settled in (None, at):
                tx.add_command(
                    Command(
                        id=f"{name}{settled}",
                        job_id="j",
                        producer=None,
                        action="pause",
                        reason=None,
                        by=None,
                        at=at,
                        settled_at=settled,
                    )
                )

    await opened.store.write(fill)
    assert await opened.store.write(lambda tx: tx.prune_rest(T0 + 1)) == 3
    assert await opened.store.write(lambda tx: (tx.producer("old"), tx.producer("new").seq)) == (None, 1)
    assert {c.id for c in await opened.store.commands_of_job("j")} == {"oldNone", "newNone", f"new{T0 + DAY}"}
    assert [deed.subject for deed in (await opened.store.audit_page()).items] == ["new"]


async def test_the_commits_of_lines_go_with_their_day_file(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        line = LogLine(seq=n + 1, job_id="j", name="crm_sync", at=T0, level=20, message="row")
        await opened.store.write(lambda tx, line=line: (tx.next_seq(), tx.append_lines([line])))
    assert await opened.store.write(lambda tx: tx.prune_rest(T0)) == 0
    monkeypatch.setattr(type(opened.store.logs), "oldest_seq", 2)
    assert await opened.store.write(lambda tx: tx.prune_rest(T0)) == 2


async def test_the_log_is_folded_in_by_the_writer_and_cut_when_it_has_grown_too_long(
    open_store: Any, ops: Any, make_job: Any, monkeypatch: Any, until: Any
) -> None:
    from etlmon.server.store import writer

    monkeypatch.setattr(writer, "RESTART_BYTES", 200_000)
    monkeypatch.setattr(writer, "PRESSING_BYTES", 500_000)
    monkeypatch.setattr(writer, "TRUNCATE_BYTES", 2_000_000)
    monkeypatch.setattr(writer, "TICK_S", 0.05)
    store = (await open_store()).store
    for n in range(120):
        await store.write(ops.put(make_job(f"j{n}", current_step="x" * 3000)))
    assert store.stats()["walBytes"] < 2_500_000  # they wrote some 12 MB

    reader = sqlite3.connect(f"{store.path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM job").fetchone()  # its snapshot keeps the log from beginning anew
    for n in range(120):
        await store.write(ops.put(make_job(f"k{n}", current_step="x" * 12_000)))
    assert store.stats()["walBytes"] > 2_000_000
    reader.execute("COMMIT")
    reader.close()
    monkeypatch.setattr(store._writer, "_checkpoint_at", 0.0)
    await store.write(ops.put(make_job("last")))
    await until(lambda: store.stats()["walBytes"] < 500_000)
