"""One thread writes; what was answered is committed, in order, and what failed left nothing behind."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from etlmon.core.access import Role
from etlmon.core.errors import Conflict, StoreUnavailable, Unavailable
from etlmon.core.events import Event, EventKind, JobChange, LogRun, Notice
from etlmon.core.filters import any_of
from etlmon.core.job import LogLine, Status
from etlmon.server.store.commands import Command
from etlmon.server.store.pages import JobQuery
from etlmon.server.store.producers import ProducerMark
from etlmon.server.store.tokens import Token
from etlmon.server.store.transaction import Transaction

T0 = 1_763_865_407_000


def make_line(seq: int, message: str = "row loaded") -> LogLine:
    return LogLine(seq=seq, job_id="j1", name="orders_nightly", at=T0 + seq, level=20, message=message)


def make_command(command_id: str, producer: str = "p1") -> Command:
    return Command(id=command_id, job_id="j1", producer=producer, action="cancel", reason=None, by="ana", at=T0)


def make_mark(seq: int, producer: str = "p1") -> ProducerMark:
    return ProducerMark(id=producer, token_id="t1", seq=seq, hash=b"h", at=T0, receipt=b"{}")


async def test_the_answer_comes_after_the_commit_and_after_those_who_follow_were_told(
    opened: Any, ops: Any, make_job: Any
) -> None:
    job = await opened.store.write(ops.put(make_job("j1")))
    assert job.seq == opened.store.head == 1
    assert [item.seq for item in opened.items] == [1]
    with sqlite3.connect(opened.store.path) as other:
        assert other.execute("SELECT seq FROM job WHERE id = 'j1'").fetchone() == (1,)
    other.close()


async def test_writers_share_commits_and_keep_their_order(opened: Any, ops: Any, make_job: Any) -> None:
    before = opened.store.stats()["commits"]
    jobs = await asyncio.gather(*(opened.store.write(ops.put(make_job(f"j{n}"))) for n in range(500)))
    assert [job.seq for job in jobs] == list(range(1, 501))
    assert [item.seq for item in opened.items] == list(range(1, 501))
    assert opened.store.stats()["commits"] - before < 50


async def test_the_head_moves_before_the_items_are_handed_on(open_store: Any, ops: Any, make_job: Any) -> None:
    opened = await open_store()
    seen = []
    opened.store._on_commit = lambda items, head: seen.append((opened.store.head, head, items[-1].seq))
    await opened.store.write(ops.put(make_job("j1")))
    assert seen == [(1, 1, 1)]


async def test_what_fails_is_undone_alone(opened: Any, ops: Any, make_job: Any) -> None:
    def fails(tx: Transaction) -> None:
        ops.put(make_job("bad"))(tx)
        tx.append_notice(Notice(seq=tx.next_seq(), at=T0, topic="queue", type="queue_update", data={}))
        tx.append_lines([make_line(tx.next_seq())])
        tx.put_producer(make_mark(1))
        tx.add_command(make_command("c1"))
        tx.audit(at=T0, actor="ana", action="job.cancel", subject="bad", detail={})
        raise Conflict("The job is over.")

    def looks(tx: Transaction) -> tuple[Any, ...]:
        return tx.head, tx.job("bad"), tx.producer("p1"), tx.open_commands(), tx.n_lines

    good, bad, seen, more = await asyncio.gather(
        *(opened.store.write(op) for op in (ops.put(make_job("j1")), fails, looks, ops.put(make_job("j2")))),
        return_exceptions=True,
    )
    assert isinstance(bad, Conflict)
    assert (good.seq, more.seq) == (1, 2)
    assert seen == (1, None, None, [], 0)
    assert [item.seq for item in opened.items] == [1, 2]
    assert await opened.store.job("bad") is None
    assert (await opened.store.audit_page()).items == []
    assert await opened.store.items_after(0, opened.store.head, 100) == (opened.items, 2)


async def test_its_neighbours_do_not_run_again_for_one_that_fails(opened: Any) -> None:
    gate, ran = threading.Event(), []

    def fails(tx: Transaction) -> None:
        raise Conflict("The job is over.")

    waiting = asyncio.create_task(opened.store.write(lambda tx: gate.wait(20)))
    await asyncio.sleep(0)
    group = asyncio.gather(
        *(opened.store.write(op) for op in (lambda tx: ran.append(1), fails, lambda tx: ran.append(2))),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    gate.set()
    await waiting
    assert isinstance((await group)[1], Conflict)
    assert ran == [1, 2]


async def test_text_that_json_cannot_carry_fails_the_one_who_brought_it(opened: Any, ops: Any, make_job: Any) -> None:
    results = await asyncio.gather(
        opened.store.write(ops.put(make_job("j1"))),
        opened.store.write(ops.put(make_job("j2", name="\ud800"))),
        opened.store.write(ops.put(make_job("j3", metrics={"note": object()}))),
        opened.store.write(ops.put(make_job("j4"))),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, True, False]
    assert opened.store.head == 2


async def test_what_cannot_be_written_at_the_end_of_a_group_fails_alone(opened: Any, ops: Any, make_job: Any) -> None:
    results = await asyncio.gather(
        opened.store.write(ops.put(make_job("j1"))),
        opened.store.write(lambda tx: tx.put_producer(make_mark(2**70))),
        opened.store.write(ops.put(make_job("j2"))),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == ["Job", "OverflowError", "Job"]
    assert opened.store.head == 2
    assert opened.store.degraded is None


async def test_numbers_beyond_sqlites_are_kept_in_the_body_and_bounded_in_the_columns(
    opened: Any, ops: Any, make_job: Any
) -> None:
    job = make_job("j1", priority=2**63, metrics={"recordsProcessed": 2**64 - 1, "recordsFailed": float("inf")})
    await opened.store.write(ops.put(job))
    kept = await opened.store.job("j1")
    assert (kept.priority, kept.metrics["recordsProcessed"]) == (2**63, 2**64 - 1)


async def test_one_transaction_sees_what_it_did_before(opened: Any, ops: Any, make_job: Any) -> None:
    def op(tx: Transaction) -> tuple[Any, ...]:
        job = ops.put(make_job("j1"))(tx)
        tx.put_producer(make_mark(7))
        tx.add_command(make_command("c1"))
        settled = tx.settle_command("c1", "obeyed", T0), tx.settle_command("c1", "refused", T0)
        return tx.job("j1") == job, tx.producer("p1"), settled, tx.open_commands(producer="p1")

    assert await opened.store.write(op) == (True, make_mark(7), (True, False), [])
    assert (await opened.store.commands_of_job("j1"))[0].outcome == "obeyed"


async def test_commands_stay_open_until_they_are_settled(opened: Any, open_store: Any) -> None:
    await opened.store.write(lambda tx: [tx.add_command(make_command(c, p)) for c, p in (("a", "p1"), ("b", "p2"))])
    await opened.store.close()
    again = (await open_store()).store
    assert [c.id for c in await again.open_commands(producer="p1")] == ["a"]
    assert [c.id for c in await again.write(lambda tx: tx.open_commands())] == ["a", "b"]
    await again.write(lambda tx: tx.settle_command("a", "obeyed", T0))
    assert [c.id for c in await again.open_commands()] == ["b"]


async def test_a_mark_is_as_durable_as_what_its_batch_held(opened: Any, open_store: Any) -> None:
    await opened.store.write(lambda tx: tx.put_producer(make_mark(1)))
    await opened.store.write(lambda tx: tx.put_producer(make_mark(2)))
    assert await opened.store.producer("p1") == make_mark(2)
    await opened.store.close()
    again = await open_store()
    assert await again.store.write(lambda tx: tx.producer("p1")) == make_mark(2)
    assert await again.store.producer("p2") is None


async def test_more_than_may_wait_is_refused_with_when_to_come_again(open_store: Any, ops: Any, make_job: Any) -> None:
    store = (await open_store(max_queue=3)).store
    results = await asyncio.gather(*(store.write(ops.put(make_job(f"j{n}"))) for n in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert len(refused) == 2
    assert all(fault.retry_after_s for fault in refused)
    assert (await store.write(ops.put(make_job("late")))).seq == 4


async def test_the_bytes_that_wait_are_bounded_but_one_request_always_goes(
    open_store: Any, ops: Any, make_job: Any
) -> None:
    store = (await open_store(max_queue_bytes=1000)).store
    results = await asyncio.gather(
        *(store.write(ops.put(make_job(f"j{n}")), n_bytes=1500) for n in range(2)), return_exceptions=True
    )
    assert [isinstance(result, Unavailable) for result in results] == [False, True]


async def test_a_caller_that_gives_up_does_not_stop_the_operation(opened: Any, ops: Any, make_job: Any) -> None:
    task = asyncio.create_task(opened.store.write(ops.put(make_job("j1"))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await opened.store.write(ops.put(make_job("j2")))
    assert (await opened.store.job("j1")).seq == 1


async def test_closing_commits_what_waits_and_then_refuses(open_store: Any, ops: Any, make_job: Any) -> None:
    opened = await open_store()
    waiting = [asyncio.create_task(opened.store.write(ops.put(make_job(f"j{n}")))) for n in range(20)]
    await asyncio.sleep(0)
    await opened.store.close()
    assert [job.seq for job in await asyncio.gather(*waiting)] == list(range(1, 21))
    with pytest.raises(StoreUnavailable):
        await opened.store.write(ops.put(make_job("late")))
    with pytest.raises(StoreUnavailable):
        await opened.store.job("j1")
    assert not opened.store.path.with_name("main.db-wal").exists()


async def test_a_restart_goes_on_where_the_numbers_stood(opened: Any, open_store: Any, ops: Any, make_job: Any) -> None:
    await opened.store.write(ops.put(make_job("j1")))
    await opened.store.close()
    again = await open_store()
    assert (again.store.epoch, again.store.head) == (opened.store.epoch, 1)
    assert (await again.store.write(ops.put(make_job("j1", status=Status.COMPLETED, finished_at=T0 + 5)))).seq == 2
    assert await again.store.counts_by_status() == {"completed": 1}


async def test_a_fault_in_handing_on_does_not_keep_the_answer(opened: Any, ops: Any, make_job: Any) -> None:
    def broken(items: list[Any], head: int) -> None:
        raise RuntimeError("the hub fell over")

    opened.store._on_commit = broken
    assert (await opened.store.write(ops.put(make_job("j1")))).seq == 1


async def test_lines_of_a_group_lie_in_one_block_that_the_journal_names(opened: Any) -> None:
    def lines(n: int) -> Any:
        def op(tx: Transaction) -> None:
            made = [make_line(seq) for seq in range(tx.head + 1, tx.head + 1 + n)]
            first = tx.next_seq(n)
            tx.append_lines(made)
            tx.publish(LogRun(seq=first, at=T0, lines=made, jobs={}))

        return op

    def between(tx: Transaction) -> None:
        tx.append_notice(Notice(seq=tx.next_seq(), at=T0, topic="queue", type="queue_update", data={"depth": 1}))

    await asyncio.gather(*(opened.store.write(op) for op in (lines(3), lines(2), between, lines(4))))
    with sqlite3.connect(opened.store.path) as other:
        rows = other.execute("SELECT seq, n, block FROM log_run ORDER BY seq").fetchall()
    other.close()
    assert [(first, n) for first, n, _ in rows] == [(1, 5), (7, 4)]
    assert {block for *_, block in rows} == {1}
    runs = await opened.store.logs.runs(0, opened.store.head, 100)
    assert [line.seq for run in runs for line in run] == [1, 2, 3, 4, 5, 7, 8, 9, 10]


async def test_people_and_their_deeds_are_kept(opened: Any, open_store: Any) -> None:
    token = Token(
        id="t1", name="ci", owner="ana", role=Role.OPERATOR, hash=b"\x01" * 32, created_at=T0, created_by="root"
    )
    await opened.store.write(lambda tx: tx.put_token(token))
    for n in range(3):
        await opened.store.write(
            lambda tx, n=n: tx.audit(
                at=T0 + n, actor="ana", action="job.cancel", subject=f"j{n}", detail={"reason": "x"}
            )
        )
    assert await opened.store.write(lambda tx: (tx.revoke_token("t1", T0 + 9), tx.revoke_token("t1", T0 + 10))) == (
        True,
        False,
    )
    await opened.store.write(lambda tx: tx.use_token("t1", T0 + 4))
    assert await opened.store.tokens() == [msgspec.structs.replace(token, revoked_at=T0 + 9, last_used_at=T0 + 4)]
    first = await opened.store.audit_page(limit=2)
    rest = await opened.store.audit_page(first.next_cursor, 2)
    assert [deed.subject for deed in (*first.items, *rest.items)] == ["j2", "j1", "j0"]
    assert (first.items[0].detail, rest.next_cursor) == ({"reason": "x"}, None)


async def test_a_job_is_found_by_the_tags_it_has_now(opened: Any, ops: Any, make_job: Any) -> None:
    async def found(value: str) -> list[str]:
        query = JobQuery(filter=any_of("tag.env", [value]))
        return [job.id for job in (await opened.store.jobs_page(query, T0)).items]

    await opened.store.write(ops.put(make_job("j1", tags={"env": "prod", "team": "a"})))
    await opened.store.write(ops.put(make_job("j1", tags={"env": "dev"})))
    assert (await found("prod"), await found("dev")) == ([], ["j1"])
    await opened.store.write(ops.put(make_job("j1", tags={})))
    assert await found("dev") == []


async def test_past_is_what_completed_runs_of_that_very_name_took(opened: Any, ops: Any, make_job: Any) -> None:
    for n in range(25):
        ended = make_job(
            f"j{n}",
            status=Status.COMPLETED,
            finished_at=T0 + (n + 1) * 1000,
            metrics={"recordsProcessed": (n + 1) * 10},
        )
        await opened.store.write(ops.put(ended))
    await opened.store.write(
        ops.put(make_job("other", name="ORDERS_nightly", status=Status.COMPLETED, finished_at=T0 + 99_000))
    )
    await opened.store.write(ops.put(make_job("bad", status=Status.FAILED, finished_at=T0 + 1)))
    past = await opened.store.write(lambda tx: tx.past("orders_nightly"))
    assert (past.runs, past.p25_ms, past.p50_ms, past.p90_ms) == (20, 11_000, 16_000, 24_000)
    assert past.rate == pytest.approx(10.0)
    assert await opened.store.write(lambda tx: tx.past("crm_sync")) is None


async def test_a_commit_is_synced_and_nobody_else_folds_the_log_in(opened: Any) -> None:
    asked = ("synchronous", "journal_mode", "wal_autocheckpoint")
    told = await opened.store.write(lambda tx: [tx._db.execute(f"PRAGMA {name}").fetchone()[0] for name in asked])
    assert told == [2, "wal", 0]


async def test_the_files_are_for_their_owner_alone(opened: Any, ops: Any, make_job: Any) -> None:
    await opened.store.write(ops.put(make_job("j1")))
    directory: Path = opened.store.path.parent
    assert directory.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir() if path.is_file()}
    assert {"main.db", "main.db-wal", "main.db-shm", "ballast", "server.lock", "main.marker"} <= modes.keys()
    assert set(modes.values()) == {0o600}


async def test_counts_follow_every_change_of_status(opened: Any, ops: Any, make_job: Any) -> None:
    for status in (Status.PENDING, Status.RUNNING, Status.FAILED, Status.RUNNING, Status.COMPLETED):
        final = status in (Status.FAILED, Status.COMPLETED)
        await opened.store.write(ops.put(make_job("j1", status=status, finished_at=T0 + 60_000 if final else None)))
    await opened.store.write(ops.put(make_job("j2", status=Status.FAILED, finished_at=T0 + 60_000)))
    assert await opened.store.counts_by_status() == {"completed": 1, "failed": 1}
    rows = await opened.store._readers.fetch("SELECT status, sum(n), sum(duration_ms) FROM finished GROUP BY status")
    assert rows == [("completed", 1, 60_000), ("failed", 1, 60_000)]


async def test_events_of_a_job_come_in_pages_bound_to_it(opened: Any, ops: Any, make_job: Any) -> None:
    for n in range(5):
        await opened.store.write(ops.put(make_job("j1", progress_percent=float(n)), EventKind.STEP_STARTED))
        await opened.store.write(ops.put(make_job("j2")))
    first = await opened.store.job_events("j1", limit=3)
    rest = await opened.store.job_events("j1", limit=3, cursor=first.next_cursor)
    assert [(e.seq, e.after.progress_percent) for e in (*first.items, *rest.items)] == [
        (1, 0.0),
        (3, 1.0),
        (5, 2.0),
        (7, 3.0),
        (9, 4.0),
    ]
    assert first.items[0].event == Event(kind=EventKind.STEP_STARTED, job_id="j1", at=T0)


def test_a_change_is_journaled_with_what_differed_before(make_job: Any) -> None:
    from etlmon.server.store import journal

    before = make_job("j1", tags={"env": "prod"}, owner="ana", current_step="load", seq=4)
    after = msgspec.structs.replace(before, owner=None, current_step="verify", tags={}, seq=5)
    event = Event(kind=EventKind.STEP_STARTED, job_id="j1", at=T0, detail={"step": "verify"})
    row = journal.event_row(5, event, before, after)
    assert journal.change_of(5, row[4]) == JobChange(seq=5, at=T0, before=before, after=after, event=event)
    assert len(row[4]) < 700
    new = journal.event_row(5, event, None, after)
    assert journal.change_of(5, new[4]).before is None
