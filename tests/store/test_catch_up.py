"""What was committed after a cursor: every event and line once, the newest sample of each job, in order, in pages."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etlmon.core.events import EventKind, Item, JobChange, LogRun, Notice
from etlmon.core.job import LogLine
from etlmon.server.store.transaction import Transaction

T0 = 1_763_865_407_000


def lines_op(job_id: str, n: int) -> Any:
    def op(tx: Transaction) -> None:
        first = tx.next_seq(n)
        made = [LogLine(first + k, job_id, "orders_nightly", T0, 20, f"line {k}") for k in range(n)]
        tx.append_lines(made)
        job = tx.job(job_id)
        tx.publish(LogRun(seq=first, at=T0, lines=made, jobs={} if job is None else {job_id: job}))

    return op


def notice_op(tx: Transaction) -> None:
    notice = Notice(seq=tx.next_seq(), at=T0, topic="queue", type="queue_update", data={"depth": 3})
    tx.append_notice(notice)
    tx.publish(notice)


async def read_all(store: Any, after: int, limit: int, **wanted: bool) -> list[Item]:
    items: list[Item] = []
    while after < store.head:
        page, reached = await store.items_after(after, store.head, limit, **wanted)
        assert after < reached <= store.head
        assert all(after < item.seq <= reached for item in page)
        items += page
        after = reached
    return items


def numbers(items: list[Item]) -> list[int]:
    """The seq of every event, sample and notice, and of every single line."""
    return [seq for item in items for seq in ([x.seq for x in item.lines] if isinstance(item, LogRun) else [item.seq])]


STEPS = ("event", "sample", "lines", "notice")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), max_size=30),
    limit=st.sampled_from([1, 2, 5, 500]),
    share=st.floats(0, 1),
)
@example(steps=[("sample", 0), ("sample", 1), ("sample", 2)], limit=2, share=0.0)
@example(steps=[("lines", 0), ("sample", 1), ("event", 2), ("lines", 1)], limit=1, share=0.0)
async def test_a_reader_gets_every_event_and_line_once_and_the_newest_sample(
    open_store: Any, ops: Any, make_job: Any, tmp_path_factory: Any, steps: Any, limit: int, share: float
) -> None:
    opened = await open_store(tmp_path_factory.mktemp("catch"), readers=1, ballast_bytes=0)
    store = opened.store
    doing = []
    for n, (step, which) in enumerate(steps):
        job = make_job(f"j{which}", progress_percent=float(n))
        match step:
            case "event":
                doing.append(ops.put(job, EventKind.STEP_STARTED))
            case "sample":
                doing.append(ops.put(job, None))
            case "lines":
                doing.append(lines_op(job.id, n % 4 + 1))
            case _:
                doing.append(notice_op)
    await asyncio.gather(*(store.write(op) for op in doing))
    after = int(share * store.head)

    newest = {item.after.id: item.seq for item in opened.items if isinstance(item, JobChange)}
    samples = [item for item in opened.items if isinstance(item, JobChange) and item.event is None]
    stale = {item.seq for item in samples if newest[item.after.id] != item.seq}
    expected = [seq for seq in numbers(opened.items) if seq > after and seq not in stale]
    got = await read_all(store, after, limit)
    assert numbers(got) == expected

    live = {item.seq: item for item in opened.items}
    for item in got:
        if isinstance(item, LogRun):
            assert [line.message for line in item.lines][:1] == [item.lines[0].message]
        elif isinstance(item, JobChange) and item.event is None:
            assert item == msgspec.structs.replace(live[item.seq], before=None)
        else:
            assert item == live[item.seq]
    await store.close()


async def test_readers_of_one_kind_get_that_kind_and_all_notices(opened: Any, ops: Any, make_job: Any) -> None:
    store = opened.store
    for op in (ops.put(make_job("j1")), lines_op("j1", 3), notice_op, ops.put(make_job("j1"), None)):
        await store.write(op)
    assert numbers(await read_all(store, 0, 100, jobs=True, logs=False)) == [1, 5, 6]
    assert numbers(await read_all(store, 0, 100, jobs=False, logs=True)) == [2, 3, 4, 5]
    assert numbers(await read_all(store, 0, 2, jobs=False, logs=False)) == [5]


async def test_a_reader_is_not_shown_what_lies_beyond_what_it_asked_for(opened: Any, ops: Any, make_job: Any) -> None:
    for _ in range(3):
        await opened.store.write(lines_op("j1", 2))
        await opened.store.write(ops.put(make_job("j1")))
    items, reached = await opened.store.items_after(1, 4, 100)
    assert (numbers(items), reached) == ([2, 3, 4], 4)


async def test_lines_come_with_the_jobs_they_belong_to(opened: Any, ops: Any, make_job: Any) -> None:
    job = await opened.store.write(ops.put(make_job("j1")))
    await opened.store.write(lines_op("j1", 2))
    await opened.store.write(lines_op("unknown", 1))
    runs = [item for item in await read_all(opened.store, 1, 100) if isinstance(item, LogRun)]
    assert [dict(run.jobs) for run in runs] in ([{"j1": job}], [{"j1": job}, {}])
    assert numbers(list(runs)) == [2, 3, 4]
