"""Progress from what programs print anyway: bars (tqdm, rich, pip, wget), ``n/m``, ``n of m``, ``NN%``. Pure.

A bar is believed at once; a bare number only when its line says what it counts or when it was seen to rise.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from etlmon.core.text import strip_ansi

_NUMBER = r"\d[\d,_]*(?:\.\d+)?"
_TQDM = re.compile(
    r"(?:(?P<step>[^|]*?):\s*)?(?P<percent>\d{1,3})%\|[^|]*\|\s*(?P<n>[\d.]+[kKMGTP]?)/(?P<total>[\d.]+[kKMGTP]?)"
    r"\s*\[[\d:?]+<[\d:?]+,\s*(?P<rate>[^\]]+)\]"
)
_OSC = re.compile(rb"\x1b\]9;4;1;(\d{1,3})(?:\x07|\x1b\\)")
_BAR = re.compile(r"[━╸╺█▉▊▋▌▍▎▏░▒▓■□⣿]{3,}|[#=\-.]{4,}>?|\[[#=\->. ]{5,}\]")
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)\s?%(?!\w)")
_FRACTION = re.compile(rf"(?<![\d./:\-])({_NUMBER})\s*(?:/|of)\s*({_NUMBER})(?![\d/:\-])", re.IGNORECASE)
_COUNTED = re.compile(
    r"\b(?:step|batch|chunk|file|row|record|line|item|page|part|epoch|task|table|block|object|message|event|partition"
    r"|iteration|progress|processed|complete|completed|done|finished|loaded|copied|imported|exported|written|converted"
    r"|downloaded|uploaded|downloading|uploading|loading|processing|copying|receiving|resolving|compressing|writing)s?\b",
    re.IGNORECASE,
)
_THINGS = r"(?:row|record|line|item|message|event)s?"
_RECORDS_AFTER = re.compile(rf"\s*{_THINGS}\b", re.IGNORECASE)
_RECORDS_BEFORE = re.compile(rf"\b{_THINGS}\W*$", re.IGNORECASE)
_SIZED = re.compile(r"\s*(?:[kKMGT]?i?B|bytes)\b")
_IN_BRACKETS = re.compile(rf"^\W*[\[(]\s*(?:{_NUMBER}\s*(?:/|of)\s*{_NUMBER}|\d{{1,3}}(?:\.\d+)?\s?%)\s*[\])]")
_DIGITS = re.compile(r"\d+")
_STEP = re.compile(r"^\W*([A-Za-z][\w .,'()/&+-]{0,60}?)(?:\s*[:…]|\s{2,}|\s+[━╸╺█▏\[|(\d])")
_STATES = 24
_KNOWN_SHAPES = 64


class Reading(NamedTuple):
    """What one line says: percent, and where it counts records how many of how many; ``step`` names the bar."""

    percent: float
    done: int | None = None
    total: int | None = None
    step: str | None = None


class ProgressReader:
    """Reads one channel. Holds to the bar that was there first, as long as it goes on."""

    def __init__(self) -> None:
        self._risen: dict[str, float] = {}
        self._held: str | None = None
        self._missed = 0

    def look(self, seen: bytes) -> Reading | None:
        """The newest reading in the bytes that came last, or None."""
        told = _OSC.findall(seen) if b"\x1b]9;4;" in seen else ()
        if told:
            return Reading(min(100.0, float(told[-1])))
        if b"%" not in seen and b"/" not in seen and b" of " not in seen:
            return None
        text = strip_ansi(seen.decode(errors="replace"))
        newest = None
        for state in re.split(r"[\r\n]+", text)[-_STATES:]:
            reading = self._believed(state[-300:]) if state else None
            newest = reading or newest
        return newest

    def _believed(self, line: str) -> Reading | None:
        reading, sure = read_line(line)
        if reading is None:
            return None
        drawn = "%|" in line or _BAR.search(line) is not None
        shape = f"bar {reading.step} {reading.total}" if drawn else _shape(line)
        before = self._risen.get(shape)
        if len(self._risen) >= _KNOWN_SHAPES and before is None:
            self._risen.clear()
        self._risen[shape] = reading.percent
        if not sure and not (before is not None and reading.percent > before):
            return None
        return reading if self._is_held(shape, reading) else None

    def _is_held(self, shape: str, reading: Reading) -> bool:
        """One bar at a time: inner bars that come and go do not make the whole jump."""
        if self._held in (None, shape) or self._missed >= _STATES:
            self._held, self._missed = shape, 0
            if reading.percent >= 100:
                self._held = None
            return True
        self._missed += 1
        return False


def _shape(line: str) -> str:
    """What two states of one count have in common: the words before it, and its total. What follows may change."""
    count = _FRACTION.search(line)
    if count is not None:
        return f"{_DIGITS.sub('#', line[: count.start(1)])[-40:]}/{count[2]}"
    percent = _PERCENT.search(line)
    return _DIGITS.sub("#", line if percent is None else line[: percent.start(1)])[-40:]


def read_line(line: str) -> tuple[Reading | None, bool]:
    """What the line says of progress, and whether that is beyond doubt."""
    if "%|" in line:
        bar = _TQDM.search(line)
        if bar is not None:
            return _of_tqdm(bar), True
    percent = _PERCENT.search(line) if "%" in line else None
    if percent is not None and float(percent[1]) <= 100:
        reading: Reading | None = Reading(float(percent[1]))
    else:
        reading = _of_fraction(line) if "/" in line or "of" in line else None
    if reading is None:
        return None, False
    if _BAR.search(line) is not None:
        return reading._replace(step=_step_of(line)), True
    return reading, _IN_BRACKETS.search(line) is not None or _COUNTED.search(line) is not None


def _of_tqdm(bar: re.Match[str]) -> Reading:
    step = (bar["step"] or "").strip() or None
    percent = min(100.0, float(bar["percent"]))
    if bar["n"].isdigit() and bar["total"].isdigit() and int(bar["total"]) > 0:
        done, total = int(bar["n"]), int(bar["total"])
        exact = min(100.0, done * 100 / total)
        counts = "B/s" not in bar["rate"]
        return Reading(exact, done if counts else None, total if counts else None, step)
    return Reading(percent, step=step)


def _of_fraction(line: str) -> Reading | None:
    match = _FRACTION.search(line)
    if match is None:
        return None
    done, total = _number(match[1]), _number(match[2])
    if not 0 <= done <= total or total < 2:
        return None
    percent = done * 100 / total
    whole = done.is_integer() and total.is_integer() and not _SIZED.match(line, match.end())
    if whole and (_RECORDS_AFTER.match(line, match.end()) or _RECORDS_BEFORE.search(line, 0, match.start())):
        return Reading(percent, int(done), int(total))
    return Reading(percent)


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("_", ""))


def _step_of(line: str) -> str | None:
    match = _STEP.match(line)
    return match[1].strip() if match is not None else None
