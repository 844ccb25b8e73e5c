"""The lines of the log room: a bounded store in ``seq`` order, what of it is shown, found, counted and marked. Pure.

A line has an absolute number, which stays its own when old lines are dropped and older ones are put before it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from etlmon.tui.logs.entry import ERROR, HOLE, RESTART, WARNING, Entry
from etlmon.tui.logs.filter import LogFilter, chosen, finds, holding, ignores_case, with_context

CAP = 200_000
"""The most lines held."""


class LogLines:
    """See the module. Shown lines are spoken of by their place (0 … ``n_shown`` - 1), all lines by their number."""

    def __init__(self, cap: int = CAP) -> None:
        self.cap = cap
        self.first = 0
        """The number of the oldest line held."""
        self.filter = LogFilter()
        self.around = 0
        """How many lines of context stand around each that matches."""
        self.term = ""
        """What is searched for."""
        self.marks: list[int] = []
        """The numbers of marked lines, in order."""
        self.n_dropped = 0
        """How many lines were let go for the sake of the bound."""
        self.version = 0
        """Grows when what is shown changes other than at its end."""
        self.n_errors = 0
        self.n_warnings = 0
        """Among the shown lines; an error is no warning."""
        self._entries: list[Entry] = []
        self._n_holes = 0
        self._last_seq = -1
        self._shown: array[int] | None = None  # numbers; None: every line
        self._hits: array[int] = array("q")
        self._after = 0  # how many lines of context are still to follow the last match

    # What there is

    @property
    def end(self) -> int:
        """The number that the next line will have."""
        return self.first + len(self._entries)

    @property
    def n_lines(self) -> int:
        """How many lines are held."""
        return len(self._entries) - self._n_holes

    @property
    def last_seq(self) -> int:
        """The ``seq`` of the newest line, -1 when there is none."""
        return self._last_seq

    @property
    def oldest_seq(self) -> int | None:
        """The ``seq`` of the oldest line."""
        return next((entry.seq for entry in self._entries if entry.level != HOLE), None)

    def entry(self, number: int) -> Entry:
        """The line with this number."""
        return self._entries[number - self.first]

    def holds(self, number: int) -> bool:
        """Whether the line is still here."""
        return self.first <= number < self.end

    # What is shown

    @property
    def n_shown(self) -> int:
        """How many lines and holes are shown."""
        return len(self._entries) if self._shown is None else len(self._shown)

    @property
    def n_hidden(self) -> int:
        """How many lines are not."""
        return len(self._entries) - self.n_shown

    def number(self, place: int) -> int:
        """The number of the line shown at ``place``."""
        return self.first + place if self._shown is None else self._shown[place]

    def place(self, number: int) -> int:
        """The place of the first shown line whose number is not smaller."""
        if self._shown is None:
            return min(max(number - self.first, 0), len(self._entries))
        return bisect_left(self._shown, number)

    def is_shown(self, number: int) -> bool:
        """Whether the line is here and shown."""
        place = self.place(number)
        return place < self.n_shown and self.number(place) == number

    def matches(self, entry: Entry) -> bool:
        """Whether the line passes level and words itself, rather than as another's context."""
        wanted = self.filter
        if not wanted.on or entry.level == HOLE:
            return True
        return (
            entry.level >= wanted.level
            and all(finds(word)(entry) for word in wanted.words)
            and not any(finds(word)(entry) for word in wanted.without)
        )

    # What comes and goes

    def append(self, entries: Iterable[Entry]) -> int:
        """Take newer lines in ``seq`` order; those had already are passed over. How many old ones were let go."""
        for entry in entries:
            if entry.level == HOLE:
                self._n_holes += 1
                self._last_seq = -1 if entry.seq == RESTART else max(self._last_seq, entry.seq)
            elif entry.seq <= self._last_seq:
                continue
            else:
                self._last_seq = entry.seq
            self._entries.append(entry)
            self._show_new(entry)
        dropped = len(self._entries) - self.cap
        if dropped > 0:
            self._drop(dropped)
        return max(0, dropped)

    def prepend(self, entries: Sequence[Entry]) -> int:
        """Put older lines, oldest first, before the rest, as many as there is room for; how many were taken."""
        oldest = self._entries[0].seq if self._entries else None
        older = [entry for entry in entries if oldest is None or entry.seq < oldest]
        room = self.cap - len(self._entries)
        older = older[-room:] if room > 0 else []
        if not older:
            return 0
        self._entries[:0] = older
        self.first -= len(older)
        self._n_holes += sum(entry.level == HOLE for entry in older)
        self._last_seq = max(self._last_seq, older[-1].seq)
        if self.around:
            self._choose()
        else:
            self._show_older(older)
        return len(older)

    def _show_older(self, older: list[Entry]) -> None:
        """What of the lines put before the rest is shown and found."""
        numbers: Sequence[int] = range(self.first, self.first + len(older))
        if self._shown is not None:
            numbers = self._numbers(older, self.filter)
            self._shown = array("q", numbers) + self._shown
        first = self.first
        self._count([older[number - first] for number in numbers], 1)
        if self.term:
            self._hits = self._found(self.term, numbers) + self._hits

    def _drop(self, n: int) -> None:
        gone = self._entries[:n]
        self._n_holes -= sum(entry.level == HOLE for entry in gone)
        self.n_dropped += n
        del self._entries[:n]
        if self._shown is None:
            self._count(gone, -1)
        else:
            hidden = bisect_left(self._shown, self.first + n)
            self._count([gone[number - self.first] for number in self._shown[:hidden]], -1)
            del self._shown[:hidden]
        self.first += n
        del self._hits[: bisect_left(self._hits, self.first)]
        del self.marks[: bisect_left(self.marks, self.first)]

    def _show_new(self, entry: Entry) -> None:
        number, shown = self.end - 1, self._shown
        if shown is not None:
            for before in self._context_before(entry, number, shown):
                self._show(before, shown)
            if not self._passes(entry):
                return
        self._show(number, shown)

    def _show(self, number: int, shown: array[int] | None) -> None:
        entry = self.entry(number)
        if shown is not None:
            shown.append(number)
        self._count((entry,), 1)
        if self.term and entry.level != HOLE and finds(self.term)(entry):
            self._hits.append(number)

    def _context_before(self, entry: Entry, number: int, shown: array[int]) -> list[int]:
        """The hidden lines that a new line shows as its context, when it matches."""
        if not self.around or entry.level == HOLE or not self._is_late(entry) or not self.matches(entry):
            return []
        start = max(self.first, shown[-1] + 1 if shown else self.first, number - self.around)
        return [before for before in range(start, number) if self._is_late(self.entry(before))]

    def _is_late(self, entry: Entry) -> bool:
        return self.filter.since is None or entry.at >= self.filter.since

    def _passes(self, entry: Entry) -> bool:
        """Whether a new line is shown, for itself or as the context of the last match."""
        if entry.level != HOLE and self.matches(entry) and self._is_late(entry):
            self._after = self.around
            return True
        self._after = 0 if entry.level == HOLE else self._after - 1
        return entry.level == HOLE or (self._after >= 0 and self._is_late(entry))

    def _count(self, entries: Iterable[Entry], sign: int) -> None:
        for entry in entries:
            if entry.level >= WARNING:
                if entry.level >= ERROR:
                    self.n_errors += sign
                else:
                    self.n_warnings += sign

    # Choosing, finding, hopping

    def choose(self, wanted: LogFilter, around: int | None = None) -> None:
        """Show the lines that match, with ``around`` lines of context (None: as before)."""
        self.filter = wanted
        self.around = self.around if around is None else around
        self._choose()

    def pass_time(self, since: int) -> None:
        """The time from which lines are shown has moved on: hide what lies before it at the front."""
        if self.filter.since is None or since <= self.filter.since or self._shown is None:
            return
        self.filter = replace(self.filter, since=since)
        old = 0
        while old < len(self._shown) and self.entry(self._shown[old]).at < since:
            old += 1
        if old:
            self._count([self.entry(number) for number in self._shown[:old]], -1)
            del self._shown[:old]
            del self._hits[: bisect_left(self._hits, self._shown[0] if self._shown else self.end)]

    def _choose(self) -> None:
        entries, wanted = self._entries, self.filter
        self.version += 1
        self._after = 0
        if not wanted.hides:
            self._shown = None
        else:
            self._shown = self._numbers(entries, wanted)
        self.n_errors = self.n_warnings = 0
        first = self.first
        shown = entries if self._shown is None else [entries[number - first] for number in self._shown]
        levels = [entry.level for entry in shown if entry.level >= WARNING]
        self.n_warnings = levels.count(WARNING)
        self.n_errors = len(levels) - self.n_warnings
        self._find(self.term)

    def _numbers(self, entries: list[Entry], wanted: LogFilter) -> array[int]:
        places = chosen(entries, wanted)
        if self.around and wanted.on and wanted.chooses:
            matching = [i for i in places if entries[i].level != HOLE and self._is_late(entries[i])]
            holes = [i for i in places if entries[i].level == HOLE]
            self._after = self._still_to_follow(matching, holes, len(entries))
            places = with_context(matching, self.around, holes, len(entries))
        if (since := wanted.since) is not None:
            places = array("q", [i for i in places if entries[i].at >= since])
        first = self.first
        return array("q", [i + first for i in places]) if first else places

    def _still_to_follow(self, matching: list[int], holes: list[int], end: int) -> int:
        """How much of the last match's context has not come yet; none after a hole."""
        if not matching or (holes and holes[-1] > matching[-1]):
            return 0
        return max(0, self.around - (end - 1 - matching[-1]))

    def search(self, term: str) -> None:
        """Find ``term`` in the shown lines; a longer term is looked for where the shorter one was found."""
        narrower = bool(self.term) and self.term in term and ignores_case(self.term) >= ignores_case(term)
        self._find(term, among=self._hits if narrower else None)

    def _find(self, term: str, among: Sequence[int] | None = None) -> None:
        self.term = term
        if not term:
            self._hits = array("q")
            return
        numbers = among if among is not None else self._shown
        self._hits = self._found(term, range(self.first, self.end) if numbers is None else numbers)

    def _found(self, term: str, among: Sequence[int]) -> array[int]:
        first, entries = self.first, self._entries
        places = [number - first for number in among] if first else among
        return array("q", [i + first for i in holding(entries, places, term) if entries[i].level != HOLE])

    @property
    def n_hits(self) -> int:
        """How many shown lines hold the term."""
        return len(self._hits)

    def hit_rank(self, number: int) -> int:
        """Which hit the line is, counted from 1; the last before it when it is none, 0 when none is."""
        return bisect_right(self._hits, number)

    def next_hit(self, number: int, step: int) -> int | None:
        """The number of the next (``step`` 1) or previous (-1) hit, going round at the end."""
        return _beyond(self._hits, number, step, wrap=True)

    def hop(self, number: int, step: int, level: int) -> int | None:
        """The next (1) or previous (-1) shown line of ``level`` and beyond."""
        place = self.place(number)
        if step > 0 and self.is_shown(number):
            place += 1
        places = range(place, self.n_shown) if step > 0 else range(place - 1, -1, -1)
        return next((n for n in map(self.number, places) if self.entry(n).level >= level), None)

    def mark(self, number: int) -> bool:
        """Mark the line, or take its mark away; whether it is marked now."""
        place = bisect_left(self.marks, number)
        if place < len(self.marks) and self.marks[place] == number:
            del self.marks[place]
            return False
        self.marks.insert(place, number)
        return True

    def next_mark(self, number: int) -> int | None:
        """The next marked line that is shown, going round at the end."""
        return _beyond([mark for mark in self.marks if self.is_shown(mark)], number, 1, wrap=True)


def _beyond(numbers: Sequence[int], number: int, step: int, *, wrap: bool) -> int | None:
    if not numbers:
        return None
    place = bisect_right(numbers, number) if step > 0 else bisect_left(numbers, number) - 1
    if 0 <= place < len(numbers):
        return numbers[place]
    return numbers[place % len(numbers)] if wrap else None
