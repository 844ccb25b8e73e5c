"""What was appended is read back, as it was, in order, a page at a time."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from etlmon.core.errors import Invalid
from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogStore

Make = Callable[..., LogLine]
Open = Callable[..., LogStore]


async def everything(store: LogStore, head: int, query: LogQuery | None = None) -> list[LogLine]:
    """All pages of a query."""
    query = query or LogQuery(limit=1000)
    page = await store.read(query, head)
    lines = list(page.lines)
    while page.next is not None:
        page = await store.read(query.resumed(page.next), head)
        lines += page.lines
    return lines


async def test_a_line_comes_back_as_it_went_in(open_store: Open, make_line: Make) -> None:
    lines = [
        make_line(1, "two\nlines, a tab\t and \x00 nothing"),
        make_line(2, "naïve café 東京 🚀", logger="etl.load", step="Ladevorgang"),
        make_line(5, "", fields=msgspec.Raw(b'{"order":17,"\xc3\xa4":[1]}'), attempt=3),
        make_line(6, "x" * 16_384, level=50),
    ]
    store = open_store()
    store.append(lines)
    assert (await store.read(LogQuery(), 6)).lines == lines


async def test_lines_above_the_head_are_not_shown(open_store: Open, make_line: Make) -> None:
    store = open_store()
    store.append([make_line(seq) for seq in range(1, 11)])
    store.append([make_line(seq) for seq in range(11, 21)])
    assert [line.seq for line in await everything(store, 10)] == list(range(1, 11))


async def test_pages_follow_each_other_without_gap_or_double_in_both_directions(
    open_store: Open, make_line: Make
) -> None:
    store = open_store()
    lines = [make_line(seq) for seq in range(1, 101)]
    for start in range(0, 100, 10):
        store.append(lines[start : start + 10])
    assert await everything(store, 100, LogQuery(limit=7)) == lines
    assert await everything(store, 100, LogQuery(limit=7, descending=True)) == lines[::-1]


async def test_a_page_of_long_lines_is_short_and_says_where_to_go_on(open_store: Open, make_line: Make) -> None:
    store = open_store(page_bytes=25_000, recent_bytes=25_000)
    lines = [make_line(seq, "x" * 10_000) for seq in range(1, 11)]
    store.append(lines)
    page = await store.read(LogQuery(), 10)
    assert (page.lines, page.next) == (lines[:3], "3")
    assert await everything(store, 10) == lines
    assert await everything(store, 10, LogQuery(descending=True)) == lines[::-1]
    assert [line for run in await store.runs(0, 10, 100) for line in run] == lines


async def test_a_tail_is_the_last_matches_in_order(open_store: Open, make_line: Make) -> None:
    store = open_store()
    lines = [make_line(seq) for seq in range(1, 101)]
    store.append(lines)
    page = await store.read(LogQuery(tail=5, job_ids=frozenset({"job-1"})), 100)
    assert page.lines == [line for line in lines if line.job_id == "job-1"][-5:]
    older = await store.read(LogQuery(tail=5, job_ids=frozenset({"job-1"})).resumed(page.next or ""), 100)
    assert older.lines == [line for line in lines if line.job_id == "job-1"][-10:-5]


async def test_runs_are_split_where_the_numbers_jump(open_store: Open, make_line: Make) -> None:
    store = open_store(recent_bytes=0)
    store.append([make_line(seq) for seq in (1, 2, 3, 7, 8)])
    store.append([make_line(seq) for seq in (9, 20)])
    runs = await store.runs(1, 20, 100)
    assert [[line.seq for line in run] for run in runs] == [[2, 3], [7, 8, 9], [20]]
    assert [[line.seq for line in run] for run in await store.runs(1, 8, 3)] == [[2, 3], [7]]


async def test_runs_from_memory_are_those_of_the_file(open_store: Open, make_line: Make) -> None:
    fast, slow = open_store(), open_store
    lines = [make_line(seq) for seq in range(1, 200) if seq % 7]
    for start in range(0, len(lines), 13):
        fast.append(lines[start : start + 13])
    fast.close()
    again = slow(199)
    for after, upto, limit in ((0, 199, 1000), (5, 100, 20), (50, 51, 5), (198, 199, 9), (199, 199, 9)):
        expected = [line for line in lines if after < line.seq <= upto][:limit]
        assert [line for run in await again.runs(after, upto, limit) for line in run] == expected
        assert (fast._writer.recent.between(after, upto, limit) or []) == expected


async def test_an_append_taken_back_is_gone_and_its_numbers_are_free(open_store: Open, make_line: Make) -> None:
    store = open_store()
    store.append([make_line(1), make_line(2)])
    store.discard(store.append([make_line(3, "never committed"), make_line(4)]))
    store.append([make_line(4, "committed")])
    assert [line.message for line in (await store.read(LogQuery(), 4)).lines][2:] == ["committed"]
    assert [line.message for run in await store.runs(2, 4, 10) for line in run] == ["committed"]


async def test_a_restart_removes_what_the_journal_does_not_name(open_store: Open, make_line: Make) -> None:
    store = open_store()
    for seq in (1, 11, 21):
        store.append([make_line(n) for n in range(seq, seq + 10)])
    store.close()
    store = open_store(20, named=lambda first: first != 11)
    assert [line.seq for line in await everything(store, 99)] == list(range(1, 11))


async def test_lines_above_an_older_head_stay_hidden_when_their_numbers_come_again(
    open_store: Open, make_line: Make
) -> None:
    store = open_store()
    store.append([make_line(seq, "first life") for seq in range(1, 11)])
    store.append([make_line(seq, "first life") for seq in range(11, 21)])
    store.close()
    store = open_store(5)
    store.append([make_line(seq, "second life") for seq in range(6, 9)])
    lines = await everything(store, 8)
    assert [(line.seq, line.message) for line in lines] == [
        *((seq, "first life") for seq in range(1, 6)),
        *((seq, "second life") for seq in range(6, 9)),
    ]


def test_files_are_for_their_owner_only(open_store: Open, make_line: Make, tmp_path: Path) -> None:
    open_store().append([make_line(1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs").iterdir()}
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize("query", [LogQuery(words="!?"), LogQuery(regex="("), LogQuery(regex=r"(a)\1")])
async def test_what_cannot_be_searched_for_is_refused(open_store: Open, query: LogQuery) -> None:
    with pytest.raises(Invalid) as refused:
        await open_store().read(query, 1)
    assert refused.value.errors[0].path in ("q", "regex")


async def test_a_cursor_of_another_kind_is_refused() -> None:
    for cursor in ("", "x", "-1", "1:2", "9" * 30, "²"):
        with pytest.raises(Invalid):
            LogQuery().resumed(cursor)
