"""Leases and the clock: none runs out for a reason of the server's own; and controls that nobody obeyed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from etlmon.core import reports as r
from etlmon.core.access import Identity, Role
from etlmon.core.job import Job, Status
from etlmon.host.clock import new_id
from etlmon.server.dispatch import Dispatch, Held, Settings
from etlmon.server.intake import Batch
from etlmon.server.recorder import Recorder
from etlmon.server.recorder import Settings as RecorderSettings
from etlmon.server.services.leases import Leases
from etlmon.server.store.queue import WorkerRow
from etlmon.server.store.store import Store
from etlmon.server.submitting import Order, Submitting, plan_of

T0 = 1_763_865_407_000
LEASE = 30_000
ANA = Identity(token_id="t1", name="ana", role=Role.ADMIN)
NOTHING = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}


class World:
    """A store, both clocks in the test's hands, and the desk over them."""

    def __init__(self, store: Store) -> None:
        self.store, self.now, self.monotonic = store, T0, 0.0
        self.submitting = Submitting(store, now=lambda: self.now, max_depth=100)
        no_hub: Any = None  # nothing here is shown to viewers
        self.recorder = Recorder(store, no_hub, now=lambda: self.now, settings=RecorderSettings())
        self.restart()

    def restart(self) -> None:
        """As after a restart of the server: nothing is remembered but what the store holds."""
        self.dispatch = Dispatch(self.store, now=lambda: self.now, settings=Settings(lease_ms=LEASE))
        self.leases = Leases(self.dispatch, lambda: self.monotonic)

    async def claimed(self, worker: str = "w1", **fields: Any) -> Job:
        """A job in a worker's hands."""
        order = Order(type="csv_processing", config=NOTHING, **fields)
        await self.submitting.submit(plan_of(order, {}, None), ANA)
        return await self.claim(worker)

    async def claim(self, worker: str) -> Job:
        row = WorkerRow(id=worker, queues=("default",))
        (given,) = await self.dispatch.claim(row, 1, 0, ANA, lambda: False)
        return given.job

    async def passes(self, seconds: int, *, turns: bool = True) -> int:
        """Time passes on both clocks, with the service's turn each second, or one at the end; what it did."""
        done = 0
        for _ in range(seconds if turns else 1):
            step = 1 if turns else seconds
            self.monotonic += step
            self.now += 1000 * step
            done += await self.leases.run_once(self.now)
        return done

    async def job(self, job: Job) -> Job:
        found = await self.store.job(job.id)
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await Store.open(tmp_path / "data", on_commit=lambda items, head: None, now=lambda: T0)
    yield World(store)
    await store.close()


async def test_a_silent_workers_job_is_taken_back_when_its_lease_is_over_and_not_before(world: World) -> None:
    job = await world.claimed()
    assert await world.passes(30) == 0
    assert await world.passes(2) == 1
    back = await world.job(job)
    assert (back.status, back.attempt, back.rescues) == (Status.PENDING, 2, 1)


async def test_a_job_that_outlives_four_workers_is_given_to_no_fifth(world: World) -> None:
    job = await world.claimed()
    for n in range(4):
        await world.passes(32)
        if n < 3:
            await world.claim(f"w{n + 2}")
    lost = await world.job(job)
    assert lost.failure is not None
    assert (lost.status, lost.failure.kind, lost.rescues) == (Status.FAILED, "lost", 3)


@pytest.mark.parametrize("jump_s", [86_400, -3_600])
async def test_a_clock_that_jumps_takes_nothing_from_a_worker_and_gives_it_nothing(world: World, jump_s: int) -> None:
    job = await world.claimed()
    assert await world.passes(10) == 0
    world.now += jump_s * 1000
    assert await world.passes(19) == 0
    assert (await world.job(job)).status is Status.RUNNING
    assert await world.passes(3) == 1


async def test_a_server_that_stood_still_gives_every_lease_one_more_period(world: World) -> None:
    await world.claimed()
    await world.passes(1)
    assert await world.passes(300, turns=False) == 0
    assert await world.passes(29) == 0
    assert await world.passes(3) == 1


async def test_a_restart_gives_every_lease_one_more_period(world: World) -> None:
    job = await world.claimed()
    world.now += 600_000
    world.restart()
    await world.dispatch.start()
    assert await world.passes(29) == 0
    renewed = await world.dispatch.renew("w1", [Held(job.id, job.fencing_token or 0)], 0, ANA)
    assert renewed.lost == []
    assert await world.passes(29) == 0
    assert await world.passes(3) == 1


async def test_a_cancel_that_its_worker_ignores_is_carried_out_without_it(world: World) -> None:
    job = await world.claimed()
    await world.recorder.control(job.id, "cancel", "wrong day", ANA)
    held = [Held(job.id, job.fencing_token or 0)]
    for _ in range(9):
        assert (await world.dispatch.renew("w1", held, 0, ANA)).lost == []
        assert await world.passes(10) == 0
    assert await world.passes(1) == 1
    ended = await world.job(job)
    assert (ended.status, (ended.summary or {})["cancelledBy"]) == (Status.CANCELLED, "ana")
    assert (await world.dispatch.renew("w1", held, 0, ANA)).lost == [job.id]


async def test_a_pause_that_nobody_obeys_is_told_as_refused(world: World) -> None:
    job = await world.claimed()
    await world.recorder.control(job.id, "pause", None, ANA)
    held = [Held(job.id, job.fencing_token or 0)]
    for _ in range(10):
        await world.dispatch.renew("w1", held, 0, ANA)
        await world.passes(10)
    after = await world.job(job)
    assert (after.status, after.control_pending) == (Status.RUNNING, None)
    told = (await world.store.job_events(job.id)).items[-1].event
    assert (told.kind, told.detail["reason"][:21]) == ("control_refused", "The job did not obey ")


async def test_a_worker_that_left_while_it_waited_holds_nothing(world: World) -> None:
    order = Order(type="csv_processing", config=NOTHING)
    queued = await world.submitting.submit(plan_of(order, {}, None), ANA)
    left = iter([False, True])
    row = WorkerRow(id="w1", queues=("default",))
    assert await world.dispatch.claim(row, 1, 0, ANA, lambda: next(left)) == []
    back = await world.job(queued.job)
    assert (back.status, back.failures, back.worker) == (Status.PENDING, 0, None)


async def test_a_timeout_that_its_worker_does_not_enforce_is_a_failed_try(world: World) -> None:
    job = await world.claimed(timeout_ms=5000, retries=1)
    world.recorder.observe([])
    await world.recorder.start()
    held = [Held(job.id, job.fencing_token or 0)]
    await world.dispatch.renew("w1", held, 0, ANA)
    world.now += 40_000
    assert await world.recorder.sweep(world.now) == 1
    back = await world.job(job)
    assert back.last_failure is not None
    assert (back.status, back.attempt, back.last_failure.kind) == (Status.PENDING, 2, "timeout")


async def test_silence_alone_loses_no_managed_job(world: World) -> None:
    job = await world.claimed()
    report = r.Heartbeat(job_id=job.id, fencing_token=job.fencing_token)
    batch = Batch(
        reports=[report], refused=[], job_ids={job.id}, n_bytes=1, size=1, producer=new_id(), seq=1, hash=b"x",
        skew_ms=0, now=[], has_lines=False,
    )  # fmt: skip
    assert (await world.recorder.take(batch, ANA, world.now)).accepted == 1
    await world.recorder.start()
    world.now += 600_000
    assert await world.recorder.sweep(world.now) == 0
    assert (await world.job(job)).status is Status.RUNNING
