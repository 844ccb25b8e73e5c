"""Numbers and times as the console writes them: short, of a known width, the same everywhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000

EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
SPARKS = "▁▂▃▄▅▆▇█"


def count(n: float | None) -> str:
    """``9,999`` ``48.2k`` ``184k`` ``1.2M`` ``22.5M`` ``184M`` ``3.1G``: at most six cells."""
    if n is None:
        return ""
    if n < 0:
        return "-" + count(-n)
    if n < 10_000:
        return f"{int(n):,}"
    for unit, scale in (("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)):
        value = n / scale
        if value < 99.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{n:.0e}"


def rate(n: float | None) -> str:
    """``2.5/s`` ``150/s`` ``1,480/s`` ``15.1k/s``."""
    if n is None:
        return ""
    return f"{n:.1f}/s" if 0 < n < 10 else f"{count(round(n))}/s"


def worked(ms: int | None) -> str:
    """How long something took: ``27s`` ``4m12s`` ``1h30m`` ``2d04h``."""
    if ms is None:
        return ""
    s = max(0, ms) // 1000
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86_400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86_400}d{s % 86_400 // 3600:02d}h"


def age(ms: int | None) -> str:
    """How long ago: ``42s`` ``9m`` ``5h`` ``3d``."""
    if ms is None:
        return ""
    s = max(0, ms) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if s >= size:
            return f"{s // size}{unit}"
    return f"{s}s"


def local(ms: int, zone: tzinfo | None = None) -> datetime:
    """The instant on a wall clock: the machine's own, or ``zone``'s."""
    at = datetime.fromtimestamp(ms / 1000, tz=zone)
    return at if zone is not None else at.astimezone()


def clock(ms: int, zone: tzinfo | None = None, *, seconds: bool = True) -> str:
    """``03:07:42``, or ``03:07``."""
    return local(ms, zone).strftime("%H:%M:%S" if seconds else "%H:%M")


def day_clock(ms: int, now: int, zone: tzinfo | None = None) -> str:
    """``03:10`` today, ``Tue 03:10`` within a week, ``2026-11-19`` beyond."""
    at, today = local(ms, zone), local(now, zone)
    if at.date() == today.date():
        return at.strftime("%H:%M")
    if abs(at - today) < timedelta(days=6):
        return at.strftime("%a %H:%M")
    return at.strftime("%Y-%m-%d")


def percent(value: float | None) -> str:
    """``45%`` in four cells; an unfinished job never shows 100."""
    if value is None:
        return "   –"
    return f"{min(100, int(value)):>3}%"


def bar(value: float, width: int) -> tuple[str, str]:
    """The filled part of a bar of ``width`` cells at ``value`` percent, to an eighth of a cell, and its empty rest.

    Below 100 percent a bar is never quite full, above 0 never quite empty.
    """
    eighths = round(max(0.0, min(100.0, value)) / 100 * width * 8)
    if 0 < value < 100:
        eighths = max(1, min(eighths, width * 8 - 1))
    whole, part = divmod(eighths, 8)
    fill = "█" * whole + (EIGHTHS[part] if whole < width else "")
    return fill, " " * (width - len(fill))


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The newest ``width`` values as columns of eight heights, from zero to the largest; unknown is blank."""
    newest = list(values)[-width:]
    most = max((value for value in newest if value), default=0.0)
    drawn = (
        " " if value is None else SPARKS[0] if most <= 0 else SPARKS[min(7, int(value / most * 7.999))]
        for value in newest
    )
    return "".join(drawn).rjust(width)
