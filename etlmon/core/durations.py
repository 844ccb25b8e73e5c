"""Durations (``"90s"``, ``"1h30m"``) and sizes (``"10GB"``): text outside, milliseconds and bytes inside."""

from __future__ import annotations

import re

from etlmon.core.instants import MAX_MS, parse_instant

UNIT_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
MAX_DURATION_MS = 36_500 * UNIT_MS["d"]
"""A hundred years: beyond it a number is a slip, and an instant plus it could not be written."""

UNIT_BYTES = {
    "TIB": 1024**4,
    "TB": 1000**4,
    "GIB": 1024**3,
    "GB": 1000**3,
    "MIB": 1024**2,
    "MB": 1000**2,
    "KIB": 1024,
    "KB": 1000,
    "B": 1,
}
MAX_SIZE = 2**63 - 1

_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(ms|[wdhms])", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([KMGT]i?B|B)", re.IGNORECASE)


def parse_duration(text: str) -> int:
    """``"90s"``, ``"25m"``, ``"1h30m"``, ``"30d"``, ``"500ms"``, ``"1.5h"`` → milliseconds; ValueError otherwise."""
    word = text.strip()
    if word == "0":
        return 0
    total, at, seen = 0.0, 0, set[str]()
    while at < len(word) and (part := _PART.match(word, at)):
        unit = part[2].lower()
        if unit in seen:
            raise ValueError(f"{_brief(text)} names {unit} twice")
        seen.add(unit)
        total += _scaled(part[1], UNIT_MS[unit])
        at = part.end() + (1 if word[part.end() : part.end() + 1] == " " else 0)
    if at == 0 or at < len(word):
        raise ValueError(
            f"{_brief(text)} is not a duration: write a number with its unit, as 90s, 25m, 1h30m, 30d or 500ms"
        )
    if total > MAX_DURATION_MS:
        raise ValueError(f"{_brief(text)} is too long: at most 36500d")
    return round(total)


def format_duration(ms: int) -> str:
    """Milliseconds for people, cut to the two largest units: ``"350ms"``, ``"42s"``, ``"4m34s"``, ``"2d3h"``."""
    if ms < 0:
        return f"-{format_duration(-ms)}"
    if ms < UNIT_MS["s"]:
        return f"{ms}ms" if ms else "0s"
    units = ("d", "h", "m", "s")
    largest = next(at for at, unit in enumerate(units) if ms >= UNIT_MS[unit])
    rest, found = ms, ""
    for unit in units[largest : largest + 2]:
        count, rest = divmod(rest, UNIT_MS[unit])
        found += f"{count}{unit}" if count else ""
    return found


def exact_duration(ms: int) -> str:
    """Milliseconds as the shortest text that ``parse_duration`` reads back to the same number: ``"90s"``, ``"36h"``."""
    if ms == 0:
        return "0s"
    return next(f"{ms // scale}{unit}" for unit, scale in UNIT_MS.items() if unit != "w" and ms % scale == 0)


def parse_size(text: str) -> int:
    """``"16KB"`` (1000), ``"10GiB"`` (1024) → bytes, any case; ValueError otherwise."""
    word = text.strip()
    if word == "0":
        return 0
    match = _SIZE.fullmatch(word)
    if match is None:
        raise ValueError(
            f"{_brief(text)} is not a size: write a number with its unit, as 512B, 16KB, 10GB (1000) or 10GiB (1024)"
        )
    size = _scaled(match[1], UNIT_BYTES[match[2].upper()])
    if size > MAX_SIZE:
        raise ValueError(f"{_brief(text)} is too large")
    return round(size)


def format_size(size: int) -> str:
    """Bytes for people, rounded: ``"71.3 MB"`` (powers of 1000)."""
    if abs(size) < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("KB", "MB", "GB"):
        value /= 1000
        if abs(value) < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:.4g} TB"


def exact_size(size: int) -> str:
    """Bytes as text that ``parse_size`` reads back to the same number: ``"16KB"``, ``"64MiB"``, ``"1500B"``."""
    if size == 0:
        return "0B"
    spelled = {"TIB": "TiB", "GIB": "GiB", "MIB": "MiB", "KIB": "KiB"}
    fits = [(size // scale, unit) for unit, scale in UNIT_BYTES.items() if size % scale == 0]
    count, unit = min(fits)
    return f"{count}{spelled.get(unit, unit)}"


def parse_age_or_instant(text: str, now: int) -> int:
    """``"24h"`` → the instant that long before ``now``; a timestamp or date → that instant; ValueError otherwise."""
    try:
        return max(0, now - parse_duration(text))
    except ValueError:
        pass
    try:
        at = parse_instant(text)
    except (ValueError, OverflowError) as fault:
        zone = (
            str(fault)
            if "time zone" in str(fault)
            else "write an age such as 24h, or a timestamp such as 2026-01-31T08:00:00Z"
        )
        raise ValueError(f"{_brief(text)} is neither an age nor a timestamp: {zone}") from None
    return min(max(0, at), MAX_MS)


def _scaled(number: str, scale: int) -> float:
    return int(number) * scale if "." not in number else float(number) * scale


def _brief(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
