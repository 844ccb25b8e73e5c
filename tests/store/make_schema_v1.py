"""Makes schema_v1.db, which every later etlmon must open. Run once, at the release of schema 1; kept to show how."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import msgspec

from etlmon.core.access import Role
from etlmon.core.events import Event, EventKind, Notice
from etlmon.core.job import Failure, FailureKind, Job, Status
from etlmon.server.store.commands import Command
from etlmon.server.store.producers import ProducerMark
from etlmon.server.store.store import Store, StoreSettings
from etlmon.server.store.tokens import Token
from etlmon.server.store.transaction import Transaction

T0 = 1_763_865_407_000


def fill(tx: Transaction) -> None:
    """One job in each state that matters, and one row in every other table."""
    for job_id, status in (
        ("0190f6aa-run", Status.RUNNING),
        ("0190f6ab-done", Status.COMPLETED),
        ("0190f6ac-bad", Status.FAILED),
    ):
        job = Job(
            id=job_id, name="orders_nightly", type="csv_processing", status=Status.RUNNING, created_at=T0,
            updated_at=T0, started_at=T0, tags={"env": "prod"}, owner="ana", metrics={"recordsProcessed": 10},
            seq=tx.next_seq(),
        )  # fmt: skip
        tx.append_event(job.seq, Event(kind=EventKind.JOB_STARTED, job_id=job_id, at=T0), None, job)
        if status is not Status.RUNNING:
            failure = Failure(kind=FailureKind.TIMEOUT, message="too slow") if status is Status.FAILED else None
            ended = msgspec.structs.replace(
                job, status=status, finished_at=T0 + 5000, failure=failure, seq=tx.next_seq()
            )
            tx.append_event(ended.seq, Event(kind=EventKind(status.value), job_id=job_id, at=T0 + 5000), job, ended)
            job = ended
        else:
            job = msgspec.structs.replace(job, progress_percent=50.0, seq=tx.next_seq())
        tx.put_job(job)
    tx.append_notice(Notice(seq=tx.next_seq(), at=T0, topic="config", type="config_changed", data={"applied": []}))
    tx.put_producer(ProducerMark(id="p1", token_id="t1", seq=3, hash=b"h", at=T0, receipt=b"{}"))
    tx.add_command(
        Command(id="c1", job_id="0190f6aa-run", producer="p1", action="cancel", reason=None, by="ana", at=T0)
    )
    tx.put_token(Token(id="t1", name="admin", owner=None, role=Role.ADMIN, hash=b"\x01" * 32, created_at=T0))
    tx.audit(at=T0, actor="ana", action="token.create", subject="t1", detail={"name": "admin"})


async def main() -> None:
    """Fill a store, close it, and keep its file."""
    with tempfile.TemporaryDirectory() as directory:
        settings = StoreSettings(ballast_bytes=0)
        store = await Store.open(Path(directory), settings, on_commit=lambda items, head: None, now=lambda: T0)
        await store.write(fill)
        await store.close()
        shutil.copy(Path(directory) / "main.db", Path(__file__).with_name("schema_v1.db"))


if __name__ == "__main__":
    asyncio.run(main())
