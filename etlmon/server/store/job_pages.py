"""Reading a page of jobs: the quick statement first; a walk in steps, under a deadline, when that is not done soon."""

from __future__ import annotations

from typing import Any

from etlmon.core.errors import DeadlineExceeded
from etlmon.core.job import Job
from etlmon.host.clock import monotonic_s
from etlmon.server.store import jobs
from etlmon.server.store.cursors import write_cursor
from etlmon.server.store.pages import RARE, Driver, JobQuery, Page, Place, Plan
from etlmon.server.store.readers import Readers, Rows

QUICK_S = 0.25
"""What a statement may take before the page is read in steps instead, each of which leaves a place to go on from."""
WALK_S = 1.0
"""After so long a page is given as short as it is."""


async def read_page(readers: Readers, query: JobQuery, now: int) -> Page[Job]:
    """The next page of ``query``. Malformed for a cursor of another query, Invalid for an unknown sort key."""
    plan = Plan(query, now)
    driver, rare = await _choose(readers, plan)
    try:
        return await _quick(readers, plan, driver, rare=rare)
    except DeadlineExceeded:
        return await _walk(readers, plan)


async def _choose(readers: Readers, plan: Plan) -> tuple[Driver | None, bool]:
    """The driver with the fewest rows, and whether those are rare; without a question when the answer is plain."""
    drivers = plan.drivers
    if not drivers:
        return None, False
    if len(drivers) == 1 and plan.is_ordered(drivers[0]):
        return drivers[0], False
    counts = plan.counts()
    found: tuple[int, ...] = (await readers.fetch(f"{counts.sql}", counts.parameters))[0]
    best = min(range(len(drivers)), key=lambda n: (found[n], not plan.is_ordered(drivers[n])))
    if found[best] <= RARE:
        return drivers[best], True
    ordered = [driver for driver in drivers if plan.is_ordered(driver)]
    return (ordered[0] if ordered else None), False


async def _quick(readers: Readers, plan: Plan, driver: Driver | None, *, rare: bool) -> Page[Job]:
    found: list[tuple[Place, bytes]] = []
    for rank in plan.ranks():
        wanted = plan.limit + 1 - len(found)
        lanes = plan.lanes(rank, driver, rare=rare)
        statement = plan.statement(rank, lanes, wanted, plan.place, None)
        rows = await readers.fetch(statement.sql, statement.parameters, deadline_s=QUICK_S)
        found += _placed(plan, rank, rows)
        if len(found) > plan.limit:
            break
    return _page(plan, found)


async def _walk(readers: Readers, plan: Plan) -> Page[Job]:
    """The order's index in steps of SLICE entries, until the page is full, the jobs are, or the time is over."""
    until = monotonic_s() + WALK_S
    found: list[tuple[Place, bytes]] = []
    for rank in plan.ranks():
        start = plan.place
        while True:
            end = await _boundary(readers, plan, rank, start)
            statement = plan.statement(rank, plan.walk(rank), plan.limit + 1 - len(found), start, end)
            rows = await readers.fetch(statement.sql, statement.parameters)
            found += _placed(plan, rank, rows)
            if len(found) > plan.limit or end is None:
                break
            if monotonic_s() > until:
                return _page(plan, found, stopped_at=end)
            start = end
        if len(found) > plan.limit:
            break
    return _page(plan, found)


async def _boundary(readers: Readers, plan: Plan, rank: int, start: Place | None) -> Place | None:
    """Where the first of the lanes has passed SLICE entries; None when none has so many left."""
    ends: list[tuple[Any, ...]] = []
    for lane in plan.walk(rank):
        statement = plan.boundary(rank, lane, start)
        ends += await readers.fetch(statement.sql, statement.parameters)
    if not ends:
        return None
    first = max(ends) if plan.descending else min(ends)
    return plan.place_of(rank, first[:-1], first[-1])


def _placed(plan: Plan, rank: int, rows: Rows) -> list[tuple[Place, bytes]]:
    return [(plan.place_of(rank, tuple(row[:-2]), row[-2]), row[-1]) for row in rows if row[-1] is not None]


def _page(plan: Plan, found: list[tuple[Place, Any]], stopped_at: Place | None = None) -> Page[Job]:
    more = len(found) > plan.limit
    taken = found[: plan.limit]
    last = taken[-1][0] if more else stopped_at
    cursor = None if last is None else write_cursor(plan.signature, last)
    return Page(items=[jobs.decode(body) for _, body in taken], next_cursor=cursor)


async def count_jobs(readers: Readers, query: JobQuery, now: int, cap: int) -> int:
    """How many jobs match, counted up to ``cap`` + 1. DeadlineExceeded when that takes too long."""
    plan = Plan(query, now)
    driver, rare = await _choose(readers, plan)
    source, condition = driver.all_of_it() if driver is not None and rare else ("job", plan.where)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {condition.sql} AND {plan.where.sql} LIMIT {cap + 1})"  # noqa: S608
    return int((await readers.fetch(sql, (*condition.parameters, *plan.where.parameters)))[0][0])
