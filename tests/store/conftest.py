"""A store over a temporary directory, a clock that tests move, jobs made to measure, and the smallest operations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from etlmon.core.events import Event, EventKind, Item, JobChange
from etlmon.core.job import Job, Status
from etlmon.server.store.store import Store, StoreSettings
from etlmon.server.store.transaction import Transaction

T0 = 1_763_865_407_000  # 2025-11-23T02:36:47Z
DEADLINE_S = 20.0


class Clock:
    """The store's clock: it stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = T0

    def __call__(self) -> int:
        return self.at


class Opened:
    """A store and all that it handed on: ``commits`` as (items, head)."""

    def __init__(self, store: Store, commits: list[tuple[list[Item], int]]) -> None:
        self.store = store
        self.commits = commits

    @property
    def items(self) -> list[Item]:
        return [item for items, _ in self.commits for item in items]


class Ops:
    """Operations to give to ``Store.write``."""

    @staticmethod
    def put(job: Job, kind: EventKind | None = EventKind.JOB_STARTED) -> Callable[[Transaction], Job]:
        """Take ``job`` as the newest state of its id; with an event, or as a sample (``kind`` None)."""

        def op(tx: Transaction) -> Job:
            seq, before = tx.next_seq(), tx.job(job.id)
            after = msgspec.structs.replace(job, seq=seq)
            event = None if kind is None else Event(kind=kind, job_id=job.id, at=job.updated_at)
            if event is not None:
                tx.append_event(seq, event, before, after)
            tx.put_job(after)
            tx.publish(JobChange(seq=seq, at=job.updated_at, before=before, after=after, event=event))
            return after

        return op


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ops() -> type[Ops]:
    return Ops


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """A running ``orders_nightly``, with whatever is given set."""

    def make(job_id: str = "0190f6aa", **fields: Any) -> Job:
        steady = {"name": "orders_nightly", "type": "csv_processing", "status": Status.RUNNING}
        return Job(id=job_id, **{**steady, "created_at": T0, "updated_at": T0, "started_at": T0, **fields})

    return make


@pytest.fixture
async def open_store(tmp_path: Path, clock: Clock) -> AsyncIterator[Callable[..., Any]]:
    """Opens a store over the test's directory (again, for a restart); all are closed at the end."""
    made: list[Store] = []

    async def open_it(data_dir: Path | None = None, **settings: Any) -> Opened:
        commits: list[tuple[list[Item], int]] = []
        store = await Store.open(
            data_dir or tmp_path / "data",
            StoreSettings(**{"ballast_bytes": 1 << 20, "readers": 2, **settings}),
            on_commit=lambda items, head: commits.append((items, head)),
            now=clock,
        )
        made.append(store)
        return Opened(store, commits)

    yield open_it
    for store in made:
        await store.close()


@pytest.fixture
async def opened(open_store: Callable[..., Any]) -> Opened:
    return await open_store()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Any]:
    """Waits until something holds; AssertionError at the deadline."""

    async def wait(holds: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110 - what is waited for happens in another thread
                await asyncio.sleep(0.01)

    return wait
