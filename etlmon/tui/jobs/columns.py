"""The columns of Jobs: which of them fit a width, and how wide each is. Pure.

Two cells of gutter come first; gaps are one cell.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

GUTTER = 2
NARROW = 76
"""Below this many cells only the percent stays of the bar."""


class Column(NamedTuple):
    """A column: its least and most width, when it is dropped (highest first; None: never), and how it is aligned."""

    key: str
    least: int
    most: int
    drop: int | None = None
    right: bool = False
    wide: bool = False
    """Shown only with ``w``."""


COLUMNS = (
    Column("STATUS", 11, 11),
    Column("NAME", 18, 26),
    Column("TYPE", 14, 14, 9),
    Column("PROGRESS", 12, 20),
    Column("ETA", 11, 11, 2, right=True),
    Column("TIME", 6, 6, 3, right=True),
    Column("ROWS", 6, 6, 4, right=True),
    Column("ERR", 6, 6, 6, right=True),
    Column("RATE", 7, 7, 5, right=True),
    Column("STEP", 18, 400),
    Column("OWNER", 6, 6, 8),
    Column("HOST", 6, 6, 10),
    Column("HEALTH", 9, 9, wide=True),
    Column("TRY", 3, 3, right=True, wide=True),
    Column("PRIO", 4, 4, right=True, wide=True),
    Column("AGE", 4, 4, 7, right=True),
)
STEP_FROM_100 = 26


class Placed(NamedTuple):
    """A column with the width that it got, its first cell, and how it is aligned."""

    key: str
    width: int
    left: int
    right: bool


@lru_cache(maxsize=256)
def layout(width: int, *, wide: bool = False) -> tuple[Placed, ...]:
    """The columns that fit ``width`` cells, placed. ``wide`` shows every column, however many cells that takes."""
    widths = {column.key: column.least for column in COLUMNS}
    if width < NARROW:
        widths["NAME"], widths["PROGRESS"] = 14, 4
    if width >= 100:
        widths["STEP"] = STEP_FROM_100
    chosen = [column for column in COLUMNS if wide or not column.wide]
    if not wide:
        while _total(chosen, widths) > width and any(column.drop for column in chosen):
            chosen.remove(max(chosen, key=lambda column: column.drop or 0))
    spare = width - _total(chosen, widths)
    if spare > 0:
        _share(spare, widths, narrow=width < NARROW)
    elif spare < 0 and not wide:
        widths["STEP"] = max(4, widths["STEP"] + spare)
    placed, left = [], GUTTER
    for column in chosen:
        placed.append(Placed(column.key, widths[column.key], left, column.right))
        left += widths[column.key] + 1
    return tuple(placed)


def _total(chosen: list[Column], widths: dict[str, int]) -> int:
    return GUTTER + sum(widths[column.key] for column in chosen) + len(chosen) - 1


def _share(spare: int, widths: dict[str, int], *, narrow: bool) -> None:
    """A third to NAME, a third of the rest to PROGRESS, what is left to STEP / REASON."""
    name = min(spare // 3, (18 if narrow else 26) - widths["NAME"])
    widths["NAME"] += name
    bar = 0 if narrow else min((spare - name) // 3, 20 - widths["PROGRESS"])
    widths["PROGRESS"] += bar
    widths["STEP"] += spare - name - bar
