"""Whatever is appended, compacted, restarted and asked, in any order: the answer is that of a list in memory."""

from __future__ import annotations

import asyncio
import tempfile
import unicodedata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogSettings, LogStore, has_words, words_of
from etlmon.server.store.logs.compaction import Compaction

NOON = 1_763_899_200_000
SMALL = LogSettings(round_bytes=300, chunk_bytes=120, recent_bytes=200, page_ms=60_000)
WORDS = (
    "error",
    "Straße",
    "STRASSE",
    "naïve",
    "nai\u0308ve",
    "İstanbul",
    "order_17",
    "order",
    "17",
    "x",
    "日本語",
    "ΑΣ",
    "ας",
    "K",
    "k",
    "ﬁle",
    "file",
    "AND",
    "NEAR(a",
    '"',
    "col:x",
    "^a*",
    "\u0301",
    "हिन्दी",
    "²",
    "a\xa0b",
    "-",
    "",
)

INSTANTS = tuple(NOON + n for n in (-3, -2, -1, 0, 1, 2, 700))

messages = st.one_of(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), st.text(max_size=40))
made = st.fixed_dictionaries(
    {
        "gap": st.integers(0, 3),
        "job": st.integers(0, 4),
        "at": st.sampled_from(INSTANTS),
        "level": st.sampled_from((10, 20, 30, 40, 50)),
        "message": messages,
        "logger": st.sampled_from((None, "etl.load", "töö")),
        "step": st.sampled_from((None, "load")),
        "fields": st.sampled_from((None, None, b"{}", b'{"a":"\xc3\xa4"}')),
        "attempt": st.integers(1, 2),
    }
)
appends = st.tuples(
    st.lists(made, min_size=4, max_size=16),
    st.sampled_from((True, True, True, False)),
    st.sampled_from((None, "compact", "compact", "restart", "midnight")),
)
WORDY = tuple(word for word in WORDS if words_of(word))
PATTERNS = (
    r"\d+",
    "(?i)STRASSE",
    "^x",
    "e$",
    r"^$",
    r"\Ax",
    r"x\z",
    r"(?s)a.b",
    r"\bk\b",
    "[^x]",
    r"(?-s)a.b",
    "日.語",
)
conditions = {
    "job_ids": st.frozensets(st.sampled_from(["job-0", "job-1", "job-2", "other"]), max_size=3),
    "level": st.sampled_from((10, 20, 30, 40)),
    "words": st.lists(st.sampled_from(WORDY), min_size=1, max_size=2).map(" ".join),
    "contains": st.sampled_from(WORDS) | st.text(max_size=2),
    "regex": st.sampled_from(PATTERNS),
    "since": st.sampled_from(INSTANTS),
    "until": st.sampled_from(INSTANTS),
    "after_seq": st.integers(0, 40),
    "before_seq": st.integers(0, 60),
}


@st.composite
def queries(draw: st.DrawFn) -> LogQuery:
    """One or two conditions (more would leave nothing to find), in one of the three ways to page."""
    chosen = draw(st.sets(st.sampled_from(sorted(conditions)), min_size=1, max_size=2))
    return LogQuery(
        **{name: draw(conditions[name]) for name in sorted(chosen)},
        limit=draw(st.integers(1, 9)),
        descending=draw(st.booleans()),
        tail=draw(st.none() | st.integers(1, 5)),
    )


def plain_words(text: str) -> set[str]:
    """Words told apart one character at a time."""
    letters = "".join(c for c in unicodedata.normalize("NFD", text.casefold()) if not "\u0300" <= c <= "\u036f")
    return set("".join(c if c.isalnum() else " " for c in letters).split())


def answers(query: LogQuery, line: LogLine) -> bool:
    """Whether ``line`` is asked for, said as plainly as can be."""
    return (
        (query.job_ids is None or line.job_id in query.job_ids)
        and (query.level is None or line.level >= query.level)
        and (query.words is None or plain_words(query.words) <= plain_words(line.message))
        and (query.contains is None or query.contains.casefold() in line.message.casefold())
        and (query.regex is None or re2.search(query.regex, line.message) is not None)
        and (query.since is None or line.at >= query.since)
        and (query.until is None or line.at < query.until)
        and (query.after_seq is None or line.seq > query.after_seq)
        and (query.before_seq is None or line.seq < query.before_seq)
    )


class World:
    """A store whose compaction runs when it is told to, and the list that it must agree with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = NOON
        self.head = 0
        self.lines: list[LogLine] = []
        self.open()

    def open(self) -> None:
        with patch.object(Compaction, "start"):
            self.store = LogStore(self.directory, SMALL, lambda: self.now)
            self.store.open(self.head)

    def append(self, made: list[dict[str, Any]], committed: bool) -> None:
        seq, lines = self.head, []
        for m in made:
            seq += 1 + m["gap"]
            fields = None if m["fields"] is None else msgspec.Raw(m["fields"])
            job = f"job-{m['job']}"
            lines.append(
                LogLine(
                    seq,
                    job,
                    job.title(),
                    m["at"],
                    m["level"],
                    m["message"],
                    m["logger"],
                    m["step"],
                    fields,
                    m["attempt"],
                )
            )
        ref = self.store.append(lines)
        if committed:
            self.head = seq
            self.lines += lines
        else:
            self.store.discard(ref)

    def compact(self) -> None:
        self.store._writer.settle(self.head)
        while self.store._compaction.run_once():
            pass

    def restart(self) -> None:
        self.store.close()
        self.open()

    def midnight(self) -> None:
        self.now += 86_400_000

    def read(self, query: LogQuery) -> list[LogLine]:
        """Every page of the answer."""
        found: list[LogLine] = []
        cursor = None
        while True:
            asked = query if cursor is None else query.resumed(cursor)
            page = asyncio.run(self.store.read(asked, self.head))
            found = page.lines + found if query.tail is not None else found + page.lines
            assert page.lines or page.next is None
            if page.next is None:
                return found
            cursor = page.next


@settings(max_examples=100, deadline=None)
@given(
    st.lists(appends, min_size=2, max_size=7),
    st.lists(queries(), min_size=4, max_size=12),
    st.integers(0, 60),
    st.integers(1, 30),
)
def test_reads_agree_with_a_list_in_memory(
    appends: list[tuple[list[dict[str, Any]], bool, str | None]], queries: list[LogQuery], after: int, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        world = World(Path(scratch))
        for lines, committed, then in appends:
            world.append(lines, committed)
            if then is not None:
                getattr(world, then)()
        assert world.read(LogQuery(limit=7)) == world.lines
        for query in queries:
            expected = [line for line in world.lines if answers(query, line)]
            backwards = query.descending and query.tail is None
            assert world.read(query) == (expected[::-1] if backwards else expected), query
        runs = asyncio.run(world.store.runs(after, world.head, limit))
        assert [line for run in runs for line in run] == [line for line in world.lines if line.seq > after][:limit]
        assert world.store.stats().lines == len(world.lines)
        world.store.close()


@given(messages, messages)
def test_a_line_has_the_words_that_are_in_it_and_no_others(message: str, words: str) -> None:
    assert set(words_of(message)) == plain_words(message)
    assert has_words(message, words_of(words)) == (plain_words(words) <= plain_words(message))
