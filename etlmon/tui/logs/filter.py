"""Which lines are shown: level, words they must hold, words they must not hold, a time. Pure.

A word in small letters is found in any case; one with a capital letter as it is written. ``"two words"`` are one.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence

import msgspec

from etlmon.tui.logs.entry import DEBUG, HOLE, Entry

_WORD = re.compile(r'"([^"]+)"?|(\S+)')


class LogFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A line must be of ``level`` and above, hold each of ``words`` and none of ``without``, not be before ``since``.

    ``on=False`` sets level and words aside without forgetting them; the time stays.
    """

    level: int = DEBUG
    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    since: int | None = None
    on: bool = True

    @property
    def chooses(self) -> bool:
        """Whether level or words are set, in force or not."""
        return self.level > DEBUG or bool(self.words or self.without)

    @property
    def hides(self) -> bool:
        """Whether any line can be hidden."""
        return (self.on and self.chooses) or self.since is not None


def words_of(text: str) -> tuple[str, ...]:
    """What a person typed → the words; quotes hold several together."""
    return tuple(quoted or bare for quoted, bare in _WORD.findall(text) if (quoted or bare).strip('"'))


def typed(words: Sequence[str]) -> str:
    """The words as a person would type them."""
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def ignores_case(word: str) -> bool:
    """Whether a word is found in any case."""
    return word == word.lower()


def finds(word: str) -> Callable[[Entry], bool]:
    """Whether an entry's message holds the word."""
    if ignores_case(word):
        return lambda entry: word in entry.message.lower()
    return lambda entry: word in entry.message


def holding(entries: Sequence[Entry], places: Sequence[int], word: str) -> list[int]:
    """Those of ``places`` whose message holds the word: one tight loop, run at each keystroke."""
    if ignores_case(word):
        return [i for i in places if word in entries[i].message.lower()]
    return [i for i in places if word in entries[i].message]


def chosen(entries: Sequence[Entry], wanted: LogFilter) -> array[int]:
    """The places of the entries that match, in order; holes always do. The time is not looked at."""
    places: Sequence[int] = range(len(entries))
    if wanted.on:
        if wanted.level > DEBUG:
            low, hole = wanted.level, HOLE
            places = [i for i, entry in enumerate(entries) if entry.level >= low or entry.level == hole]
        for word in wanted.words:
            places = holding(entries, places, word)
        for word in wanted.without:
            hidden = set(holding(entries, places, word))
            places = [i for i in places if i not in hidden] if hidden else places
        if wanted.words or wanted.without:
            holes = [i for i, entry in enumerate(entries) if entry.level == HOLE]
            places = sorted({*places, *holes}) if holes else places
    return array("q", places)


def with_context(places: Sequence[int], around: int, holes: Sequence[int], end: int) -> array[int]:
    """The places with ``around`` more before and after each, and the holes: what lies beyond a hole is no context."""
    out: array[int] = array("q")
    start, at = 0, 0
    for stop in (*holes, end):
        reached = start
        while at < len(places) and places[at] < stop:
            upto = min(stop, places[at] + around + 1)
            out.extend(range(max(reached, places[at] - around), upto))
            reached = max(reached, upto)
            at += 1
        if stop < end:
            out.append(stop)
        start = stop + 1
    return out
