"""Slots: the instants that a schedule names in its time zone. What a cron expression means on the days on which clocks
change is cronsim's to say (as Debian's cron): a time that is skipped is made up for, one that comes twice counts once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from etlmon.core.instants import EPOCH, MILLISECOND, from_datetime

MARGIN = timedelta(hours=3)
"""Looking begins so much earlier: where clocks are set back, local time alone does not say which side one is on."""


def slots_between(schedule: str, zone: str, after: int, until: int) -> list[int]:
    """Every slot with ``after`` < slot <= ``until`` (instants, ms), in order."""
    found: set[int] = set()
    for at in CronSim(schedule, _local(after, zone) - MARGIN):
        slot = from_datetime(at)
        if slot > until:
            break
        if slot > after:
            found.add(slot)
    return sorted(found)


def next_slot(schedule: str, zone: str, after: int) -> int | None:
    """The first slot after an instant; None when there is none in 50 years."""
    for at in CronSim(schedule, _local(after, zone) - MARGIN):
        if (slot := from_datetime(at)) > after:
            return slot
    return None


def _local(instant: int, zone: str) -> datetime:
    return (EPOCH + instant * MILLISECOND).astimezone(ZoneInfo(zone))
