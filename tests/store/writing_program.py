"""Writes through a Store and prints what was acknowledged, until it is killed. Usage: DIRECTORY START."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from etlmon.core.events import Event, EventKind
from etlmon.core.job import Job, LogLine, Status
from etlmon.server.store.producers import ProducerMark
from etlmon.server.store.store import Store, StoreSettings
from etlmon.server.store.transaction import Transaction


async def main(directory: Path, start: int) -> None:
    """Eight writers at once; each batch is a job, its event, three lines and a producer's mark, all or nothing."""
    store = await Store.open(
        directory, StoreSettings(ballast_bytes=0, readers=1), on_commit=lambda items, head: None, now=lambda: 1
    )
    os.write(1, f"ready {store.epoch} {store.head}\n".encode())
    numbers = itertools.count(start)

    async def write() -> None:
        while True:
            n = next(numbers)

            def op(tx: Transaction, n: int = n) -> int:
                job = Job(
                    id=f"j{n}", name="orders_nightly", type="sql", status=Status.RUNNING, created_at=1, updated_at=1,
                    seq=tx.next_seq(),
                )  # fmt: skip
                tx.append_event(job.seq, Event(kind=EventKind.JOB_STARTED, job_id=job.id, at=1), None, job)
                tx.put_job(job)
                first = tx.next_seq(3)
                tx.append_lines(
                    [LogLine(first + k, job.id, "orders_nightly", 1, 20, f"line {k} of {n}") for k in range(3)]
                )
                tx.put_producer(ProducerMark(id=f"p{n}", token_id=None, seq=1, hash=b"h", at=1))
                return job.seq

            seq = await store.write(op)
            os.write(1, f"{n} {seq}\n".encode())

    await asyncio.gather(*(write() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
