"""Schedules: which instants an expression names where clocks change, and that each is started once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from etlmon.core.config import Definition
from etlmon.core.cron import parse_cron
from etlmon.core.instants import from_datetime
from etlmon.core.job import Job
from etlmon.server.services.schedules import Schedules
from etlmon.server.slots import next_slot, slots_between
from etlmon.server.store.store import Store
from etlmon.server.submitting import Submitting

NIGHTLY = Definition(
    type="csv_processing",
    config={"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}},
    schedule="30 2 * * *",
    timezone="Europe/Rome",
)
HOUR = 3_600_000


def at(text: str) -> int:
    """An instant, as 2026-03-29T01:00Z."""
    return from_datetime(datetime.fromisoformat(text).astimezone(UTC))


def shown(slots: list[int], zone: str) -> list[str]:
    return [datetime.fromtimestamp(slot / 1000, ZoneInfo(zone)).strftime("%d %H:%M%z") for slot in slots]


@pytest.mark.parametrize(
    ("schedule", "zone", "day", "slots"),
    [
        ("30 2 * * *", "Europe/Rome", "2026-03-28T12:00Z", ["29 03:00+0200"]),  # 2:30 is skipped: made up for
        ("30 2 * * *", "Europe/Rome", "2026-10-24T12:00Z", ["25 02:30+0200"]),  # 2:30 comes twice: once
        ("0 */8 * * *", "Europe/Rome", "2026-03-28T22:00Z", ["29 00:00+0100", "29 08:00+0200", "29 16:00+0200"]),
        ("*/30 1-2 * * *", "Europe/Rome", "2026-10-24T22:30Z", [
            "25 01:00+0200", "25 01:30+0200", "25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100",
        ]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", ["04 02:30+1100"]),  # half an hour is skipped
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00Z", ["05 01:45+1100"]),  # and comes twice
        ("0 0 29 2 *", "UTC", "2028-02-28T12:00Z", ["29 00:00+0000"]),
    ],
)  # fmt: skip
def test_days_on_which_clocks_change(schedule: str, zone: str, day: str, slots: list[str]) -> None:
    begin = at(day)
    assert shown(slots_between(schedule, zone, begin, begin + 23 * HOUR), zone) == slots


@settings(deadline=None)
@given(
    st.integers(0, 365 * 24 * 60), st.lists(st.integers(1, 3 * 24 * 60), min_size=1, max_size=6),
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 1,2,3 * * *", "15 */2 * * *"]),
    st.sampled_from(["Europe/Rome", "Australia/Lord_Howe", "America/New_York", "UTC"]),
)  # fmt: skip
def test_windows_side_by_side_name_each_slot_once(begin: int, widths: list[int], schedule: str, zone: str) -> None:
    start = at("2026-01-01T00:00Z") + begin * 60_000
    bounds = [start]
    for width in widths:
        bounds.append(bounds[-1] + width * 60_000)
    pieces = [slot for a, b in pairwise(bounds) for slot in slots_between(schedule, zone, a, b)]
    assert pieces == slots_between(schedule, zone, start, bounds[-1])
    upcoming = next_slot(schedule, zone, start)
    assert not pieces or upcoming == pieces[0]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["*", "5", "1-5", "*/2", "2,4", "1-6/2", "3/2", "0", "7", "12"]), min_size=5, max_size=5)
)
def test_what_is_taken_from_a_config_means_the_same_to_cronsim(words: list[str]) -> None:
    text = " ".join(words)
    try:
        cron = parse_cron(text)
    except ValueError:
        return
    sim = CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))
    assert (cron.minutes, cron.hours, cron.days, cron.months) == (sim.minutes, sim.hours, sim.days, sim.months)
    assert cron.weekdays == {int(day) % 7 for day in sim.weekdays if isinstance(day, int)}


class World:
    """A store, a clock that is set, and the service over them."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, at("2026-11-23T00:00Z")

    def service(self, **definitions: Definition) -> Schedules:
        return Schedules(Submitting(self.store, now=lambda: self.now, max_depth=100), definitions)

    async def turn(self, service: Schedules, when: str) -> int:
        self.now = at(when)
        return await service.run_once(self.now)

    async def jobs(self) -> list[Job]:
        return await self.store.active_jobs()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await Store.open(tmp_path / "data", on_commit=lambda items, head: None, now=lambda: 0)
    yield World(store)
    await store.close()


async def test_a_slot_is_started_once_however_often_the_server_restarts(world: World) -> None:
    service = world.service(orders_nightly=NIGHTLY)
    turns = [await world.turn(service, f"2026-11-23T01:{minute}:00Z") for minute in (29, 30, 31)]
    assert turns == [0, 1, 0]
    assert await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-23T01:32Z") == 0
    (job,) = await world.jobs()
    assert (job.name, job.queue, job.status) == ("orders_nightly", "default", "pending")


async def test_a_clock_set_back_starts_nothing_again(world: World) -> None:
    service = world.service(orders_nightly=NIGHTLY)
    assert await world.turn(service, "2026-11-23T01:29Z") == 0
    assert await world.turn(service, "2026-11-23T01:30Z") == 1
    assert await world.turn(service, "2026-11-23T00:30Z") == 0
    assert await world.turn(service, "2026-11-23T01:30Z") == 0


async def test_a_missed_slot_is_made_up_for_within_its_grace(world: World) -> None:
    await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-23T01:00Z")
    assert await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-23T01:40Z") == 1
    assert await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-24T01:41Z") == 0


async def test_a_new_schedule_makes_up_for_nothing(world: World) -> None:
    service = world.service(orders_nightly=NIGHTLY)
    assert await world.turn(service, "2026-11-23T01:35Z") == 0
    assert await world.turn(service, "2026-11-24T01:30Z") == 1


async def test_a_changed_schedule_makes_up_for_nothing(world: World) -> None:
    later = replace(NIGHTLY, schedule="0 5 * * *")
    await world.turn(world.service(orders_nightly=later), "2026-11-20T00:00Z")
    assert await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-23T01:35Z") == 0
    assert await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-24T01:30Z") == 1


async def test_what_is_only_expected_is_not_started(world: World) -> None:
    fields: dict[str, Any] = {"schedule": "* * * * *", "start": False}
    assert await world.turn(world.service(ledger_close=Definition(**fields)), "2026-11-23T01:30Z") == 0


async def test_a_slot_refused_by_a_full_queue_is_tried_again(world: World) -> None:
    full = Schedules(Submitting(world.store, now=lambda: world.now, max_depth=0), {"orders_nightly": NIGHTLY})
    await world.turn(full, "2026-11-23T01:29Z")
    assert await world.turn(full, "2026-11-23T01:30Z") == 0
    assert await world.turn(world.service(orders_nightly=NIGHTLY), "2026-11-23T01:31Z") == 1
