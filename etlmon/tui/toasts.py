"""What the console tells in passing: a few toasts at a time, and every notice of this console. Pure.

Many failures at once become one toast; each stays a notice of its own.
"""

from __future__ import annotations

import textwrap
from collections import Counter, deque
from collections.abc import Sequence
from itertools import count
from typing import Final

import msgspec

from etlmon.core.text import shown
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import ELLIPSIS, Line, Span, cut, cut_middle, fitted, width_of
from etlmon.tui.jobs.state import Failure

SHOWN_MS = 5_000
FAILURE_SHOWN_MS = 10_000
MOST = 3
"""Toasts on the screen at one time; the rest are counted."""
BURST = 10
"""So many failures …"""
BURST_MS = 5_000
"""… within so long are told as one."""
KEPT = 500
"""Notices kept for the list of them."""
WIDTH = 46
BAR = "▌"
SIGNS: Final = {"ok": "✓", "warn": "▲", "fail": "✗", "paused": "‖", "run": "▸"}
ASCII_SIGNS: Final = {"ok": "+", "warn": "!", "fail": "x", "paused": "=", "run": ">"}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something told at the instant ``at`` (this machine's ms): a title, one line, and the role of both."""

    id: int
    at: int
    title: str
    line: str = ""
    role: str = "text"
    until: int = 0
    """When its toast goes away."""


class Toasts:
    """The queue of toasts and the history behind it; times are this machine's milliseconds."""

    def __init__(self) -> None:
        self.history: deque[Notice] = deque(maxlen=KEPT)
        self._live: list[Notice] = []
        self._ids = count(1)
        self._recent: deque[tuple[int, Failure]] = deque()
        self._burst: int | None = None
        self._burst_of: list[Failure] = []
        self._single: dict[int, int] = {}

    def tell(self, title: str, line: str = "", role: str = "text", *, now: int) -> Notice:
        """Show a toast and keep its notice."""
        notice = self._made(title, line, role, now)
        self.history.append(notice)
        self._live.append(notice)
        return notice

    def note(self, title: str, line: str = "", role: str = "text", *, now: int) -> None:
        """Keep a notice without a toast."""
        self.history.append(self._made(title, line, role, now))

    def _made(self, title: str, line: str, role: str, now: int) -> Notice:
        lasts = FAILURE_SHOWN_MS if role == "fail" else SHOWN_MS
        return Notice(id=next(self._ids), at=now, title=shown(title), line=shown(line), role=role, until=now + lasts)

    def tell_failures(self, failures: Sequence[Failure], now: int) -> None:
        """Tell of failed jobs: each by itself, or all as one when they are many at once."""
        for failure in failures:
            while self._recent and now - self._recent[0][0] > BURST_MS:
                self._recent.popleft()
            if not self._recent:
                self._burst = None
            self._recent.append((now, failure))
            notice = self._made(*failure_words(failure), "fail", now)
            self.history.append(notice)
            self._live.append(notice)
            self._single[notice.id] = now
        if self._burst is not None or len(self._recent) >= BURST:
            self._gather(failures, now)

    def _gather(self, news: Sequence[Failure], now: int) -> None:
        """Put the failures of the last seconds into one toast."""
        if self._burst is None:
            self._burst_of = [failure for _, failure in self._recent]
        else:
            self._burst_of += news
        gathered = {key for key, at in self._single.items() if now - at <= BURST_MS}
        self._live = [each for each in self._live if each.id not in gathered and each.id != self._burst]
        self._single.clear()
        notice = self._made(*burst_words(self._burst_of), "fail", now)
        self._burst = notice.id
        self._live.append(notice)

    def shown(self, now: int) -> tuple[list[Notice], int]:
        """The newest toasts that still last, oldest of them first, and how many more there are."""
        self._live = [each for each in self._live if each.until > now]
        return self._live[-MOST:], max(0, len(self._live) - MOST)

    def dismiss(self, notice_id: int | None = None) -> None:
        """Take one toast away, or all; their notices stay."""
        self._live = [each for each in self._live if notice_id is not None and each.id != notice_id]


def failure_words(failure: Failure) -> tuple[str, str]:
    """Title and line of one failed job."""
    after = f" failed after {figures.worked(failure.worked_ms)}" if failure.worked_ms is not None else " failed"
    name = cut_middle(shown(failure.name), WIDTH - 5 - width_of(after))
    return name + after, failure.message.split("\n", 1)[0]


def burst_words(failures: Sequence[Failure]) -> tuple[str, str]:
    """Title and line of many: how many, and the cause that most of them share."""
    n = len(failures)
    cause, times = Counter(cause_of(failure.message) for failure in failures).most_common(1)[0]
    title = f"{n:,} jobs failed"
    if cause and times == n:
        title += f", all with {cause}"
    elif cause and times > 1:
        title += f", {times:,} with {cause}"
    return title, "! shows them"


def cause_of(message: str) -> str:
    """What comes before the particulars: ``HTTP 401`` of ``HTTP 401: key revoked (batch 5,910)``."""
    first = shown(message.split("\n", 1)[0])
    return first.split(": ", 1)[0].split(" (", 1)[0].strip()


def toast_lines(notice: Notice, width: int = WIDTH, *, ascii_only: bool = False) -> list[Line]:
    """A toast in exactly ``width`` cells: a bar in its role's colour, the title, and the line if there is one."""
    signs = ASCII_SIGNS if ascii_only else SIGNS
    sign = f"{signs[notice.role]} " if notice.role in signs else ""
    bar = Span("| " if ascii_only else f"{BAR} ", notice.role if notice.role != "text" else "accent")
    room = width - 3
    dots = "..." if ascii_only else ELLIPSIS
    title_look = f"{notice.role} bold" if notice.role == "fail" else "text bold"
    drawn: list[Line] = [
        [
            bar,
            Span(sign, f"{notice.role} bold"),
            Span(cut(notice.title, room - width_of(sign), ellipsis=dots), title_look),
        ]
    ]
    if notice.line:
        line = notice.line.replace(" · ", " - ") if ascii_only else notice.line
        drawn.append([bar, Span(cut(line, room, ellipsis=dots))])
    return [fitted(line, width) for line in drawn]


def more_line(n: int, width: int = WIDTH, *, ascii_only: bool = False) -> Line:
    """``and 9 more · n shows all``."""
    bar, dot = ("| ", "-") if ascii_only else (f"{BAR} ", "·")
    told = [
        Span(bar, "muted"),
        Span(f"and {n:,} more {dot} ", "muted"),
        Span("n", "accent"),
        Span(" shows all", "muted"),
    ]
    return fitted(told, width)


def notice_lines(notice: Notice, width: int, clock: str, *, ascii_only: bool = False) -> list[Line]:
    """A notice in the list of all: when, what, and its line whole, wrapped under the title."""
    signs = ASCII_SIGNS if ascii_only else SIGNS
    sign = signs.get(notice.role, " ")
    indent = 14
    room = max(10, width - indent - 1)
    title = textwrap.wrap(notice.title, room) or [""]
    look = f"{notice.role} bold" if notice.role == "fail" else "text bold"
    head: Line = [Span(f"  {clock}  ", "muted"), Span(f"{sign} ", f"{notice.role} bold"), Span(title[0], look)]
    rest = [(text, look) for text in title[1:]] + [(text, "text") for text in textwrap.wrap(notice.line, room)]
    return [head, *([Span(" " * indent), Span(text, each)] for text, each in rest)]
