"""A store with many jobs, made through its own door: names, owners, statuses and tags as a busy team has them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from msgspec.structs import replace

from etlmon.core.ids import uuid7
from etlmon.core.job import Failure, FailureKind, Job, Status
from etlmon.host.clock import now_ms
from etlmon.server.store.store import Store
from etlmon.server.store.transaction import Transaction

STATUSES = (Status.COMPLETED,) * 90 + (Status.FAILED,) * 8 + (Status.CANCELLED,) * 2
TYPES = ("csv_processing", "field_mapping", "api_upload", "command", "sql")
OWNERS = ("ana", "bo", "cy", "dee", "eli", "fay", "gus", "hana", "ivo", "jo")
A_SLICE = 5_000


def make_job(n: int, total: int, newest: int, dice: random.Random) -> Job:
    """The n-th oldest of ``total`` jobs spread over 30 days; the newest 500 still run."""
    created = newest - (total - n) * 30 * 86_400_000 // total
    status = Status.RUNNING if n >= total - 500 else dice.choice(STATUSES)
    ended = None if status is Status.RUNNING else created + dice.randrange(1_000, 3_600_000)
    failure = (
        Failure(kind=FailureKind.ERROR, message=f"connection refused by db-{n % 9}")
        if status is Status.FAILED
        else None
    )
    return Job(
        id=uuid7(created, dice.randbytes(10)), name=f"pipeline_{dice.randrange(500)}", type=dice.choice(TYPES),
        status=status, created_at=created, updated_at=ended or created, started_at=created, finished_at=ended,
        owner=dice.choice(OWNERS), host=f"etl-{n % 20}", source="sdk", tags={"env": dice.choice(("prod", "test"))},
        progress_percent=100.0 if ended else dice.random() * 100, failure=failure, summary={} if ended else None,
        metrics={"recordsProcessed": dice.randrange(10**7), "recordsFailed": dice.randrange(100)},
    )  # fmt: skip


def fill(directory: Path, n_jobs: int) -> None:
    """Write ``n_jobs`` into a new store in ``directory``."""
    asyncio.run(_fill(directory, n_jobs))


async def _fill(directory: Path, n_jobs: int) -> None:
    dice, newest = random.Random(7), now_ms()
    store = await Store.open(directory, on_commit=lambda items, head: None, now=now_ms)

    def op(tx: Transaction, first: int) -> None:
        for n in range(first, min(n_jobs, first + A_SLICE)):
            job = make_job(n, n_jobs, newest, dice)
            tx.put_job(replace(job, seq=tx.next_seq()))

    for first in range(0, n_jobs, A_SLICE):
        await store.write(lambda tx, first=first: op(tx, first))
    await store.close()
