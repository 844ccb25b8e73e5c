"""One line of the log room, the jobs' lanes, and what stands where lines are missing. Pure.

Texts are kept as they came: ``core.text.shown`` is theirs on the way to the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any, Final

import msgspec

from etlmon.core.instants import parse_instant
from etlmon.core.job import LEVEL_NUMBER

HOLE: Final = 0
"""The level of an entry that is no line: it tells of lines that are not here."""
DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
RESTART: Final = -1
"""The ``seq`` of a hole after which numbers begin anew: another store answers."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A line, or a hole. ``at`` in ms; ``level`` 10–50 or HOLE; ``lane`` is its job's; ``fields`` encoded JSON.

    Positional and unknown to the collector: up to 200,000 are held.
    """

    seq: int
    at: int
    level: int
    lane: int
    message: str
    logger: str | None = None
    step: str | None = None
    fields: bytes | None = None


class Lanes:
    """The jobs whose lines are shown, in the order in which they were first seen: a lane is an index."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self.ids: list[str] = []
        self.names: list[str] = []
        self._index: dict[str, int] = {}
        for job_id, name in (names or {}).items():
            self.lane_of(job_id, name)

    def __len__(self) -> int:
        """How many jobs there are."""
        return len(self.ids)

    def lane_of(self, job_id: str, name: str) -> int:
        """The lane of a job, made when it is new."""
        found = self._index.get(job_id)
        if found is None:
            found = self._index[job_id] = len(self.ids)
            self.ids.append(job_id)
            self.names.append(name or job_id)
        return found

    def name(self, lane: int) -> str:
        """The name of the lane's job; a hole has none."""
        return self.names[lane] if 0 <= lane < len(self.names) else ""


def entry_of(line: Mapping[str, Any], lanes: Lanes) -> Entry | None:
    """A LogEntry as the server tells it → Entry; None for what is none."""
    seq, at, message = line.get("seq"), line.get("at"), line.get("message")
    if not isinstance(seq, int) or not isinstance(at, str) or not isinstance(message, str):
        return None
    try:
        instant = parse_instant(at)
    except ValueError:
        return None
    fields = line.get("fields")
    return Entry(
        seq,
        instant,
        LEVEL_NUMBER.get(str(line.get("level")), INFO),
        lanes.lane_of(str(line.get("jobId")), str(line.get("name") or "")),
        message.rstrip("\r\n") if message[-1:] in "\r\n" else message,
        _short(line.get("logger")),
        _short(line.get("step")),
        msgspec.json.encode(fields) if fields else None,
    )


def _short(value: Any) -> str | None:
    return intern(value) if type(value) is str and value else None


def hole(seq: int, at: int, told: str) -> Entry:
    """What stands in place of lines that are not here; ``told`` says how many and why."""
    return Entry(seq, at, HOLE, -1, told)


def hole_of(seq: int, at: int, gap: Mapping[str, Any]) -> Entry:
    """A ``gap`` of the live stream: lines that retention removed, that an agent gave up, or that polling passed."""
    dropped = gap.get("dropped")
    if not isinstance(dropped, int):
        return hole(seq, at, "some lines were passed over")
    lines = "1 line" if dropped == 1 else f"{dropped:,} lines"
    name = gap.get("name")
    if isinstance(name, str) and name:
        return hole(seq, at, f"{lines} given up by {name}")
    return hole(seq, at, f"up to {lines} removed by retention")
