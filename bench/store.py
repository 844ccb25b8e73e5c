"""A large store: a page of jobs under every indexed filter with 1 M jobs, and how soon a server with it serves."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.million import fill
from bench.table import Row, main, median
from etlmon.core.filters import parse
from etlmon.host.clock import now_ms
from etlmon.server.store.pages import JobQuery
from etlmon.server.store.store import Store
from world import ServerProcess

N_JOBS, RUNS = 1_000_000, 15
INDEXED = (
    "", "status:running", "status:failed", "status:failed,cancelled", "name:pipeline_7", "name:pipeline_1*", "type:sql",
    "owner:ana", "host:etl-3", "source:sdk", "tag.env:prod", "status:failed owner:ana type:sql", "created<24h",
    "status:failed created<7d", "-status:completed",
)  # fmt: skip
SORTS = (
    "-createdAt",
    "-startedAt",
    "-finishedAt",
    "-updatedAt",
    "-duration",
    "name",
    "status",
    "-priority",
    "-progress",
)
OTHERS = ("nosuchword", '"connection refused"', "error:*db-3", "rows>9999990", "failed>98 -owner:ana")


async def page_ms(store: Store, text: str, sort: str = "-createdAt") -> float:
    """The median time of the first page of 50, and of the one after it, whichever is longer."""
    slowest = 0.0
    cursor: str | None = None
    for _ in range(2):
        query = JobQuery(filter=parse(text, now_ms()), sort=sort, limit=50, cursor=cursor)
        times = []
        for _ in range(RUNS):
            begun = time.perf_counter()
            page = await store.jobs_page(query, now_ms())
            times.append((time.perf_counter() - begun) * 1000)
        slowest, cursor = max(slowest, median(times)), page.next_cursor
        if cursor is None:
            break
    return slowest


async def pages(directory: Path) -> list[Row]:
    """The slowest filter, the slowest sort, and what is not indexed."""
    store = await Store.open(directory, on_commit=lambda items, head: None, now=now_ms)
    filters = {text: await page_ms(store, text) for text in INDEXED}
    sorts = {sort: await page_ms(store, "", sort) for sort in SORTS}
    others = {text: await page_ms(store, text) for text in OTHERS}
    await store.close()

    def row(what: str, times: dict[str, float], at_most: float) -> Row:
        worst = max(times, key=times.__getitem__)
        note = f"slowest: {worst!r}; median of {len(times)}: {median(times.values()):.1f} ms"
        return Row(what=what, value=times[worst], unit="ms", at_most=at_most, note=note)

    return [
        row("job page, any indexed filter, 1 M jobs", filters, 10),
        row("job page, any sort, 1 M jobs", sorts, 10),
        row("job page, filters no index holds (deadline 1 s)", others, 1500),
    ]


def ready(directory: Path) -> Row:
    """From the start of the process until it serves, after a clean stop."""
    times = []
    for _ in range(6):
        server = ServerProcess(directory)
        begun = time.perf_counter()
        server.start()
        times.append(time.perf_counter() - begun)
        server.stop()
    return Row(what="ready with 1 M jobs in the store", value=median(times[1:]), unit="s", at_most=0.8)


def measure() -> list[Row]:
    """With a million jobs; making them takes some minutes."""
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory), N_JOBS)
        return [*asyncio.run(pages(Path(directory))), ready(Path(directory))]


if __name__ == "__main__":
    main(measure)
