"""Rounds of compaction, one piece of work at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
import zstandard

from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogStore
from etlmon.server.store.logs.chunks import build
from etlmon.server.store.logs.columns import Columns, decode
from etlmon.server.store.logs.compaction import Compaction
from etlmon.server.store.logs.reading import FileScan, Step

Make = Callable[..., LogLine]
Open = Callable[..., LogStore]


@pytest.fixture
def open_still(open_store: Open) -> Open:
    """A store that compacts only when told to."""

    def make(*arguments: int, **settings: int) -> LogStore:
        with patch.object(Compaction, "start"):
            return open_store(*arguments, **settings)

    return make


async def seqs(store: LogStore, head: int) -> list[int]:
    """The numbers of all lines."""
    return [line.seq for line in (await store.read(LogQuery(limit=10_000), head)).lines]


async def test_what_main_db_may_still_undo_is_not_compacted(open_still: Open, make_line: Make) -> None:
    store = open_still(round_bytes=1)
    store.append([make_line(1), make_line(2)])
    assert not store._compaction.run_once()
    ref = store.append([make_line(3)])
    assert store._compaction.run_once()
    assert store.stats().uncompacted == 1
    assert not store._compaction.run_once()
    store.discard(ref)
    assert await seqs(store, 3) == [1, 2]
    store.append([make_line(3, "again")])
    assert await seqs(store, 3) == [1, 2, 3]
    assert store._compaction.run_once()
    assert store.stats().uncompacted == 0


async def test_a_round_counts_whole_or_not_at_all(open_still: Open, make_line: Make) -> None:
    store = open_still(round_bytes=1)
    store.append([make_line(seq) for seq in range(1, 50)])
    store._writer.settle(49)
    pen = store._writer.files[0].write()
    pen.execute("CREATE TEMP TRIGGER stop BEFORE INSERT ON round BEGIN SELECT RAISE(ABORT, 'stopped'); END")
    with pytest.raises(sqlite3.DatabaseError, match="stopped"):
        store._compaction.run_once()
    assert await seqs(store, 49) == list(range(1, 50))
    assert store.stats().uncompacted == 49
    pen.execute("DROP TRIGGER stop")
    assert store._compaction.run_once()
    assert await seqs(store, 49) == list(range(1, 50))
    assert store.stats().uncompacted == 0


async def test_many_small_blocks_are_compacted_for_their_number(open_still: Open, make_line: Make) -> None:
    store = open_still(round_blocks=5)
    for seq in range(1, 6):
        store.append([make_line(seq)])
    store._writer.settle(5)
    assert store._compaction.run_once()
    assert store.stats().uncompacted == 0


def test_a_long_job_has_chunks_of_its_own_and_short_ones_share(make_line: Make) -> None:
    lines = [make_line(seq, "x" * 100, job_id="long") for seq in range(1, 101)]
    lines += [make_line(seq, "short", job_id=f"short-{seq}") for seq in range(101, 111)]
    chunks = list(build([Columns.of(lines)], 2_500))
    assert [(len(chunk.keys), chunk.span.n) for chunk in chunks] == [(1, 25)] * 4 + [(10, 10)]
    assert sorted(chunk.span.first_seq for chunk in chunks) == [1, 26, 51, 76, 101]


async def test_a_trickle_is_not_kept_in_memory(
    open_store: Open, make_line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.append([make_line(1)])
    assert store._writer.kept
    monkeypatch.setattr("etlmon.server.store.logs.kept._KEPT_S", -1.0)
    store._writer.kept.fade()
    assert not store._writer.kept


async def test_a_reader_of_the_past_keeps_a_sealed_file_from_being_called_complete(
    open_still: Open, make_line: Make, clock: Any
) -> None:
    store = open_still()
    store.append([make_line(1)])
    file = store._writer.files[0]
    with store._writer.readers.reading(file) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM block").fetchall()
        clock.at += 86_400_000
        store.append([make_line(2)])
        assert store._compaction.run_once()
        assert not store._compaction.run_once()
        assert not file.complete
        reader.execute("COMMIT")
    assert store._compaction.run_once()
    assert file.complete
    assert await seqs(store, 2) == [1, 2]


async def test_words_compacted_while_they_are_searched_for_are_found(
    open_still: Open, make_line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_still(round_bytes=1)
    for seq in (1, 2, 3):
        store.append([make_line(seq)])
    assert store._compaction.run_once()  # 1
    step = FileScan.step

    def step_then_compact(scan: FileScan, low: int, high: int) -> Step | None:
        found = step(scan, low, high)
        store._compaction.run_once()
        return found

    monkeypatch.setattr(FileScan, "step", step_then_compact)
    assert [line.seq for line in (await store.read(LogQuery(words="loaded"), 3)).lines] == [1, 2, 3]


def test_fields_stay_with_their_lines_when_only_some_blocks_have_any(make_line: Make) -> None:
    def block(first: int, fields: bytes | None) -> Columns:
        raw = None if fields is None else msgspec.Raw(fields)
        return Columns.of([make_line(seq, job_id="one", fields=raw) for seq in range(first, first + 3)])

    (chunk,) = build([block(1, None), block(4, b"{}"), block(7, None)], 10_000)
    body = decode(chunk.data, zstandard.ZstdDecompressor())
    assert [body.line(place).fields for place in range(9)] == [None] * 3 + [msgspec.Raw(b"{}")] * 3 + [None] * 3


async def test_a_search_for_very_many_or_very_long_words_finds_what_has_them_all(
    open_still: Open, make_line: Make
) -> None:
    store = open_still(round_bytes=1)
    many = " ".join(f"w{n}" for n in range(3_000))
    long = "x" * 16_000
    store.append([make_line(1, many), make_line(2, many[:-1]), make_line(3, long)])
    store._writer.settle(3)
    assert store._compaction.run_once()
    assert [line.seq for line in (await store.read(LogQuery(words=many), 3)).lines] == [1]
    assert [line.seq for line in (await store.read(LogQuery(words=long.upper()), 3)).lines] == [3]
    assert (await store.read(LogQuery(words=long + "x"), 3)).lines == []
