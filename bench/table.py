"""What a benchmark says: rows of one table, each a figure with its goal or its peer measured in the same run."""

from __future__ import annotations

import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. ``at_most`` or ``at_least`` is the goal; ``peer`` names what ``value`` is a ratio to, if it is."""

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    peer: str = ""
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None when there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None


def show(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | measured | goal | | beside |", "|---|---:|---:|---|---|"]
    for row in rows:
        goal = (
            f"≤ {_n(row.at_most)}"
            if row.at_most is not None
            else f"≥ {_n(row.at_least)}"
            if row.at_least is not None
            else ""
        )
        mark = {True: "✓", False: "✗", None: ""}[row.holds]
        beside = "; ".join(part for part in (row.peer, row.note) if part)
        lines.append(f"| {row.what} | {_n(row.value)} {row.unit} | {goal} | {mark} | {beside} |")
    return "\n".join(lines)


def _n(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(measure: Callable[[], list[Row]]) -> None:
    """The end of each benchmark's file: as JSON lines for ``python -m bench``, as a table for people."""
    rows = measure()
    if os.environ.get("ETLMON_BENCH_ROWS"):
        Path(os.environ["ETLMON_BENCH_ROWS"]).write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    else:
        sys.stdout.write(show(rows) + "\n")


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def cpu_s(pid: int) -> float:
    """User and system seconds that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident memory of the process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
