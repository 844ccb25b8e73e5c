"""Taking: a batch of several jobs' lines gets its numbers in the order of the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from etlmon.core import reports as r
from etlmon.core.access import Identity, Role
from etlmon.core.events import Item, LogRun
from etlmon.core.job import Job, Status
from etlmon.server.intake import parse_batch
from etlmon.server.store.store import Store
from etlmon.server.store.transaction import Transaction
from etlmon.server.taking import Taking

NOW = 1_763_865_407_000
ANA = Identity(token_id="t1", name="ana", role=Role.ADMIN)
Take = Callable[..., tuple[r.Receipt, list[Item]]]


def log(job: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "log", "jobId": job, "message": message, **fields}


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Takes reports into a store that has the jobs ``known``: the receipt, and what was published."""

    async def run(reports: list[dict[str, Any]], known: list[Job]) -> tuple[r.Receipt, list[Item]]:
        published: list[Item] = []
        store = await Store.open(tmp_path, on_commit=lambda items, head: published.extend(items), now=lambda: NOW)
        batch = parse_batch(msgspec.json.encode({"reports": reports}), NOW)

        def op(tx: Transaction) -> r.Receipt:
            for job in known:
                tx.put_job(msgspec.structs.replace(job, seq=tx.next_seq()))
            return Taking(tx, batch, ANA, now=NOW, received_at=NOW, max_line_bytes=1000).take()

        try:
            return await store.write(op), published
        finally:
            await store.close()

    return lambda reports, known=(): asyncio.run(run(reports, list(known)))


def seqs(items: list[Item]) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for item in items:
        if isinstance(item, LogRun):
            found += [(line.seq, line.message) for line in item.lines]
            assert {line.job_id for line in item.lines} <= item.jobs.keys()
        else:
            found.append((item.seq, type(item).__name__))
    return found


def test_a_job_that_a_line_brings_to_life_comes_between_the_lines_around_it(take: Take) -> None:
    receipt, items = take([log("a", "1"), log("a", "2"), log("b", "3"), log("a", "4"), log("b", "5")])
    assert receipt.accepted == 5
    assert seqs(items) == [
        (1, "JobChange"), (2, "1"), (3, "2"), (4, "JobChange"), (5, "3"), (6, "4"), (7, "5"),
    ]  # fmt: skip


def test_a_line_with_an_old_fencing_token_is_refused_alone(take: Take) -> None:
    job = Job(
        id="a", name="orders_nightly", type="sql", status=Status.RUNNING, created_at=NOW, updated_at=NOW,
        fencing_token=7, reporter="t1",
    )  # fmt: skip
    given = [log("a", "1", fencingToken=6), log("a", "2", fencingToken=7), log("a", "3", fencingToken=7)]
    receipt, items = take(given, [job])
    assert [refusal.index for refusal in receipt.rejected] == [0]
    assert receipt.accepted == 2
    assert [message for _, message in seqs(items) if message.isdigit()] == ["2", "3"]


def test_refusals_name_their_places_in_the_body(take: Take) -> None:
    given = [
        log("a", "1"), {"kind": "nonsense"}, log("b", "2", level="loud"), log("a", "3", fields=[1]),
        log("b", "4", level="WARN"), {"kind": "heartbeat", "jobId": "a"}, log("a", "5", level="loud"),
    ]  # fmt: skip
    receipt, items = take(given)
    assert [refusal.index for refusal in receipt.rejected] == [1, 2, 3, 6]
    assert [message for _, message in seqs(items) if message.isdigit()] == ["1", "4"]
