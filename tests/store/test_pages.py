"""Pages of jobs: whatever the filter, the order and the page size, together they are the whole answer, in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlmon.core import filters as f
from etlmon.core.errors import Invalid, Malformed
from etlmon.core.job import Failure, Job, Status
from etlmon.server.store import job_pages, jobs, pages
from etlmon.server.store.cursors import read_cursor, write_cursor
from etlmon.server.store.opening import open_main
from etlmon.server.store.pages import ORDERS, JobQuery
from etlmon.server.store.readers import Readers

T0 = 1_763_865_407_000
NOW = T0 + 3_600_000
HOUR = 3_600_000

FILTERS = [
    "",
    "status:failed",
    "status:running,paused,pending",
    "owner:ana",
    "owner:ANA,bob",
    "name:orders_nightly,crm_sync",
    "name:o*",
    "tag.env:prod",
    "tag.env:prod,DEV -status:failed",
    "type:sql OR host:etl-1",
    "source:sdk owner:ana",
    "fingerprint:f1",
    "nightly",
    "-owner:ana",
    "id:J7,j12",
    "created>30m",
    "finished<40m status:completed",
    "progress>10",
    "duration>5m",
]

KEYS = {
    "createdAt": lambda job: (job.created_at,),
    "startedAt": lambda job: (job.started_at,),
    "finishedAt": lambda job: (job.finished_at,),
    "updatedAt": lambda job: (job.updated_at,),
    "duration": lambda job: (job.execution_ms(NOW),),
    "name": lambda job: (job.name.lower(), job.created_at),
    "status": lambda job: (job.status.value, job.created_at),
    "priority": lambda job: (job.priority, job.created_at),
    "progress": lambda job: (job.progress_percent, job.created_at),
}


def make_cast(n: int) -> list[Job]:
    """Jobs with many ties and gaps in every order, by a fixed rule."""
    made = []
    for i in range(n):
        status = list(Status)[i * 7 % 6]
        begun = status is not Status.PENDING
        final = status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED) and (begun or i % 2 == 0)
        created = T0 + i // 3 * 60_000
        started = created + i % 5 * 1000 if begun else None
        finished = created + i * 37 % 11 * 60_000 if final else None
        made.append(
            Job(
                id=f"j{i}",
                name=("orders_nightly", "Orders_Nightly", "crm_sync", "ledger_close")[i % 4],
                type=("sql", "csv_processing")[i % 2],
                status=status,
                created_at=created,
                updated_at=max(created, finished or 0, started or 0) + i % 4,
                started_at=started,
                finished_at=finished,
                paused_at=created + 5000 if status is Status.PAUSED else None,
                owner=(None, "ana", "bob")[i % 3],
                host=(None, "etl-1")[i % 2],
                source="sdk" if i % 5 else None,
                reporter=("t1", "t2")[i % 2],
                priority=i % 3,
                progress_percent=None if i % 4 == 0 else 100.0 if status is Status.COMPLETED else float(i % 3 * 20),
                tags={"env": ("prod", "dev")[i % 2]} if i % 3 else {},
                failure=Failure(message="boom", fingerprint=f"f{i % 2}") if status is Status.FAILED else None,
                seq=i + 1,
            )
        )
    return made


@pytest.fixture(scope="module")
def cast() -> list[Job]:
    return make_cast(90)


@pytest.fixture(scope="module")
def main_db(tmp_path_factory: pytest.TempPathFactory, cast: list[Job]) -> Iterator[Path]:
    opened = open_main(tmp_path_factory.mktemp("pages"))
    opened.connection.execute("BEGIN")
    for job in cast:
        jobs.write_job(opened.connection, None, job, jobs.encode(job))
    opened.connection.execute("COMMIT")
    yield opened.path
    opened.connection.close()
    opened.lock.release()


@asynccontextmanager
async def reading(path: Path) -> Any:
    readers = Readers(path, 1)
    await readers.open()
    try:
        yield readers
    finally:
        await readers.close()


def expected(cast: list[Job], query: JobQuery) -> list[str]:
    """The ids in the order asked for, by plain Python: jobs without the value last, ties by the order of arrival."""
    found = [
        (KEYS[query.sort.removeprefix("-")](job), number, job.id)
        for number, job in enumerate(cast)
        if f.matches(query.filter, job, NOW)
        and (query.since is None or job.updated_at >= query.since)
        and (query.until is None or job.updated_at <= query.until)
        and (not query.final_only or job.is_final)
        and (query.reporter is None or job.reporter == query.reporter)
    ]
    down = query.sort.startswith("-")
    having = sorted((row for row in found if row[0][0] is not None), reverse=down)
    lacking = sorted((row for row in found if row[0][0] is None), key=lambda row: (*row[0][1:], row[1]), reverse=down)
    return [row[-1] for row in (*having, *lacking)]


async def read_all(readers: Readers, query: JobQuery, *, quick: bool = True) -> list[str]:
    ids: list[str] = []
    cursor = None
    for _ in range(1000):
        asked = JobQuery(
            **{name: getattr(query, name) for name in query.__struct_fields__ if name != "cursor"}, cursor=cursor
        )
        if quick:
            page = await job_pages.read_page(readers, asked, NOW + len(ids))
        else:
            page = await job_pages._walk(readers, pages.Plan(asked, NOW + len(ids)))
        assert len(page.items) <= query.limit
        ids += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return ids
    raise AssertionError("the pages never end")


queries = st.builds(
    JobQuery,
    filter=st.sampled_from(FILTERS).map(lambda text: f.parse(text, NOW)),
    sort=st.sampled_from([f"{way}{name}" for name in ORDERS for way in ("", "-")]),
    limit=st.sampled_from([1, 3, 7, 50]),
    since=st.none() | st.just(T0 + HOUR // 4),
    until=st.none() | st.just(T0 + HOUR // 3),
    final_only=st.booleans(),
    reporter=st.none() | st.just("t1"),
)


async def compare(main_db: Path, cast: list[Job], query: JobQuery, *, quick: bool) -> None:
    async with reading(main_db) as readers:
        assert await read_all(readers, query, quick=quick) == expected(cast, query)


@settings(max_examples=150, deadline=None)
@given(query=queries)
@pytest.mark.parametrize("rare", [0, 10, 1000])
async def test_pages_are_the_whole_answer_in_order(main_db: Path, cast: list[Job], rare: int, query: JobQuery) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "RARE", rare)
        patch.setattr(job_pages, "RARE", rare)
        await compare(main_db, cast, query, quick=True)


@settings(max_examples=100, deadline=None)
@given(query=queries)
@pytest.mark.parametrize("time_s", [0.0, 60.0])
async def test_a_walk_in_steps_gives_the_same_with_short_pages(
    main_db: Path, cast: list[Job], time_s: float, query: JobQuery
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "SLICE", 4)
        patch.setattr(job_pages, "WALK_S", time_s)
        await compare(main_db, cast, query, quick=False)


@pytest.mark.parametrize("sort", [f"{way}{name}" for name in ORDERS for way in ("", "-")])
@pytest.mark.parametrize("rank", [0, 1])
def test_every_walk_reads_an_index_in_its_order(main_db: Path, sort: str, rank: int) -> None:
    plan = pages.Plan(JobQuery(sort=sort), NOW)
    if rank not in plan.ranks():
        return
    db = sqlite3.connect(main_db)
    try:
        for lane in plan.walk(rank):
            statement = plan.statement(rank, [lane], 50, None, None)
            steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)]
            assert any("USING" in step and "INDEX" in step for step in steps), steps
            # One sort is the merge of the lanes, of at most a page; a second one would be of everything.
            assert sum("TEMP B-TREE FOR ORDER BY" in step for step in steps) <= (1 if lane.sorted else 2), steps
    finally:
        db.close()


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("owner:ana", "-createdAt"),
        ("tag.env:prod", "createdAt"),
        ("status:failed", "-finishedAt"),
        ("name:crm_sync", "finishedAt"),
    ],
)
def test_a_driver_with_the_order_needs_no_sort(main_db: Path, text: str, sort: str) -> None:
    plan = pages.Plan(JobQuery(sort=sort, filter=f.parse(text, NOW)), NOW)
    (lane,) = plan.lanes(0, plan.drivers[0], rare=False)
    statement = plan.statement(0, [lane], 50, None, None)
    db = sqlite3.connect(main_db)
    steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)]
    db.close()
    assert sum("TEMP B-TREE" in step for step in steps) <= 1, steps


async def test_a_cursor_serves_the_query_that_gave_it_and_no_other(main_db: Path) -> None:
    async with reading(main_db) as readers:
        first = await job_pages.read_page(readers, JobQuery(limit=5), NOW)
        assert first.next_cursor is not None
        again = await job_pages.read_page(readers, JobQuery(limit=8, cursor=first.next_cursor), NOW)
        assert len(again.items) == 8
        others = [
            JobQuery(cursor=first.next_cursor, sort="createdAt"),
            JobQuery(cursor=first.next_cursor, filter=f.parse("owner:ana", NOW)),
            JobQuery(cursor=first.next_cursor, final_only=True),
            JobQuery(cursor=first.next_cursor, reporter="t1"),
            JobQuery(cursor=first.next_cursor, since=1),
            *(JobQuery(cursor=text) for text in ("", "x", "é", "AAAA", "!" * 40, first.next_cursor[:-1], "A" * 4000)),
        ]
        for query in others:
            with pytest.raises(Malformed):
                await job_pages.read_page(readers, query, NOW)


@given(st.data())
def test_a_cursor_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    cursor = write_cursor("q", [1, None, "x"])
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_=!é").filter(lambda character: character != cursor[at]))
    assert read_cursor("q", cursor, list) == [1, None, "x"]
    with pytest.raises(Malformed):
        read_cursor("q", cursor[:at] + other + cursor[at + 1 :], list)


async def test_the_instants_of_the_first_page_hold_for_the_next(main_db: Path) -> None:
    async with reading(main_db) as readers:
        young = f.parse("created<55m", NOW)
        first = await job_pages.read_page(readers, JobQuery(filter=young, since=T0, limit=1, sort="createdAt"), NOW)
        late = JobQuery(filter=young, since=T0 + HOUR, limit=100, sort="createdAt", cursor=first.next_cursor)
        rest = await job_pages.read_page(readers, late, NOW + HOUR)
        assert len(first.items) + len(rest.items) == sum(job.created_at > NOW - 55 * 60_000 for job in make_cast(90))


async def test_an_unknown_order_is_refused_with_the_nearest(main_db: Path) -> None:
    async with reading(main_db) as readers:
        with pytest.raises(Invalid, match="createdAt"):
            await job_pages.read_page(readers, JobQuery(sort="-created"), NOW)


@pytest.mark.parametrize("text", FILTERS)
async def test_counts_are_exact_up_to_their_cap(main_db: Path, cast: list[Job], text: str) -> None:
    query = JobQuery(filter=f.parse(text, NOW))
    n = len(expected(cast, query))
    async with reading(main_db) as readers:
        assert await job_pages.count_jobs(readers, query, NOW, 1000) == n
        assert await job_pages.count_jobs(readers, query, NOW, 2) == min(n, 3)
