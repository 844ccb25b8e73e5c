"""Day files: when they change, when they go, and what happens to one that cannot be read."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etlmon.core.errors import StoreRefused, StoreUnavailable
from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogStore
from etlmon.server.store.logs.chunks import build
from etlmon.server.store.logs.columns import Columns
from etlmon.server.store.logs.reading import FileScan, Step

Make = Callable[..., LogLine]
Open = Callable[..., LogStore]
DAY = 86_400_000


async def seqs(store: LogStore, head: int = 10_000) -> list[int]:
    """The numbers of all lines."""
    return [line.seq for line in (await store.read(LogQuery(limit=10_000), head)).lines]


async def until(holds: Callable[[], Any]) -> None:
    """Waits for a fact."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it never became so"
        await asyncio.sleep(0.005)


def names(tmp_path: Path) -> list[str]:
    """The day files there are."""
    return sorted(path.name for path in (tmp_path / "logs").glob("*.db"))


async def test_each_utc_day_has_its_file(open_store: Open, make_line: Make, clock: Any, tmp_path: Path) -> None:
    store = open_store()
    for seq in range(1, 4):
        store.append([make_line(seq)])
        clock.at += DAY
    assert names(tmp_path) == ["20251123-0.db", "20251124-0.db", "20251125-0.db"]
    assert await seqs(store) == [1, 2, 3]


async def test_a_clock_that_goes_back_does_not_take_the_order_back(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path
) -> None:
    store = open_store()
    store.append([make_line(1)])
    clock.at -= 3 * DAY
    store.append([make_line(2)])
    store.close()
    store = open_store(2)
    store.append([make_line(3)])
    assert names(tmp_path) == ["20251123-0.db"]
    assert await seqs(store) == [1, 2, 3]


async def test_a_file_begun_while_the_clock_is_behind_sorts_after_the_newest(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path
) -> None:
    store = open_store(roll_bytes=1)
    store.append([make_line(1)])
    clock.at -= 3 * DAY
    store.append([make_line(2)])
    assert names(tmp_path) == ["20251123-0.db", "20251123-1.db"]
    store.close()
    assert await seqs(open_store(2)) == [1, 2]


async def test_a_file_that_has_grown_enough_is_followed_by_another(
    open_store: Open, make_line: Make, tmp_path: Path
) -> None:
    store = open_store(roll_bytes=150_000)
    for seq in range(1, 1001, 100):
        store.append([make_line(n, f"{n**99:x}") for n in range(seq, seq + 100)])
    assert names(tmp_path)[:2] == ["20251123-0.db", "20251123-1.db"]
    assert await seqs(store) == list(range(1, 1001))


async def test_a_sealed_file_is_compacted_whole_and_left_without_companions(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path
) -> None:
    store = open_store()
    store.append([make_line(seq) for seq in range(1, 51)])
    clock.at += DAY
    store.append([make_line(51)])
    first, second = store._writer.files
    await until(lambda: first.complete)
    assert first.n_uncompacted == 0
    assert second.n_uncompacted == 1
    assert sorted(path.name for path in (tmp_path / "logs").glob("20251123-*")) == ["20251123-0.db"]
    assert await seqs(store) == list(range(1, 52))
    store.close()
    assert await seqs(open_store(51)) == list(range(1, 52))


async def test_age_drops_whole_files_and_never_the_current_one(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path
) -> None:
    store = open_store(retention_ms=2 * DAY)
    for seq in range(1, 6):
        store.append([make_line(seq)])
        clock.at += DAY
    assert store.prune(clock.at) == 3
    assert await seqs(store) == [4, 5]
    assert store.oldest_seq == 3
    clock.at += 30 * DAY
    assert store.prune(clock.at) == 2
    assert await seqs(store) == []
    assert store.oldest_seq == 5
    assert len(names(tmp_path)) == 1
    store.close()
    assert open_store(5).oldest_seq == 5
    assert [path.name for path in (tmp_path / "logs").iterdir() if "20251123" in path.name] == []


async def test_bytes_bound_the_disk(open_store: Open, make_line: Make, clock: Any, tmp_path: Path) -> None:
    store = open_store(max_bytes=1_000_000)
    seq = 0
    for _ in range(60):
        store.append([make_line(seq + n, f"{(seq + n) ** 9:x}" * 20) for n in range(1, 101)])
        seq += 100
        store.prune(clock.at)
    await until(lambda: sum(not file.complete for file in store._writer.files) <= 1)
    store.prune(clock.at)
    assert store.stats().bytes <= 1_000_000
    assert 0 < store.oldest_seq < seq
    assert (await seqs(store)) == list(range(store.oldest_seq + 1, seq + 1))


async def test_a_read_whose_file_is_dropped_meanwhile_goes_on_with_the_next(
    open_store: Open, make_line: Make, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(retention_ms=DAY)
    store.append([make_line(seq) for seq in range(1, 11)])
    clock.at += DAY
    store.append([make_line(11)])
    clock.at += DAY
    step = FileScan.step

    def drop_then_step(scan: FileScan, low: int, high: int) -> Step | None:
        store.prune(clock.at)
        return step(scan, low, high)

    monkeypatch.setattr(FileScan, "step", drop_then_step)
    assert await seqs(store) in ([11], list(range(1, 12)))  # what was still readable may be shown
    assert await seqs(store) == [11]


def damaged_files(directory: Path) -> dict[str, bytes]:
    """File contents that must not be taken for log files."""
    with sqlite3.connect(directory / "foreign") as foreign:
        foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    return {
        "empty": b"",
        "garbage": b"\x00garbage" * 1000,
        "text": b"2025-11-23 not a database\n" * 200,
        "foreign": (directory / "foreign").read_bytes(),
        "cut": b"SQLite format 3\0" + b"\x01" * 20,
    }


@pytest.mark.parametrize("kind", ["empty", "garbage", "text", "foreign", "cut"])
async def test_a_file_that_is_none_of_ours_is_set_aside_with_a_warning(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    store = open_store()
    store.append([make_line(1)])
    clock.at += DAY
    store.append([make_line(2)])
    store.close()
    broken = tmp_path / "logs" / "20251123-0.db"
    broken.write_bytes(damaged_files(tmp_path)[kind])
    with caplog.at_level(logging.WARNING):
        store = open_store(2)
    assert await seqs(store) == [2]
    assert store.stats().set_aside == 1
    assert [record.action for record in caplog.records] == ["log_file_set_aside"]  # type: ignore[attr-defined]
    assert (tmp_path / "logs" / "20251123-0.db.corrupt").exists()
    store.append([make_line(3)])
    store.close()
    assert open_store(3).stats().set_aside == 1


async def test_a_newest_file_that_is_damaged_does_not_lend_its_name_again(
    open_store: Open, make_line: Make, tmp_path: Path
) -> None:
    store = open_store()
    store.append([make_line(1)])
    store.close()
    (tmp_path / "logs" / "20251123-0.db").write_bytes(b"")
    store = open_store(1)
    store.append([make_line(2)])
    assert names(tmp_path) == ["20251123-1.db"]
    assert await seqs(store) == [2]


async def test_a_file_of_a_newer_etlmon_is_left_alone(open_store: Open, make_line: Make, tmp_path: Path) -> None:
    store = open_store()
    store.append([make_line(1)])
    store.close()
    path = tmp_path / "logs" / "20251123-0.db"
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version=99")
    newer.close()
    store = open_store(1)
    store.append([make_line(2)])
    assert await seqs(store) == [2]
    assert path.exists()
    assert store.stats().set_aside == 1


async def test_a_page_damaged_in_a_sealed_file_costs_only_what_it_held(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path
) -> None:
    store = open_store(chunk_bytes=4_000)
    store.append([make_line(seq, f"row {seq} {seq**7:x}") for seq in range(1, 2001)])
    clock.at += DAY
    store.append([make_line(2001)])
    await until(lambda: store._writer.files[0].complete)
    store.close()
    path = tmp_path / "logs" / "20251123-0.db"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE body SET data = zeroblob(length(data)) WHERE chunk = 3")
    connection.commit()
    connection.close()
    store = open_store(2001, chunk_bytes=4_000)
    left = await seqs(store)
    assert 1000 < len(left) < 2001
    assert left[-1] == 2001
    assert store.stats().damaged >= 1


async def test_appends_go_on_in_a_new_file_when_the_current_one_breaks(
    open_store: Open, make_line: Make, tmp_path: Path
) -> None:
    store = open_store()
    store.append([make_line(1)])
    connection = store._writer.files[0].write()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "logs" / "20251123-0.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    connection.execute("PRAGMA cache_size=0")
    connection.execute("PRAGMA shrink_memory")
    store.append([make_line(2)])
    assert len(names(tmp_path)) == 2
    assert 2 in await seqs(store)


async def test_a_new_day_after_an_append_taken_back_begins_with_its_numbers(
    open_store: Open, make_line: Make, clock: Any
) -> None:
    store = open_store()
    store.append([make_line(1), make_line(2)])
    store.discard(store.append([make_line(6)]))
    clock.at += DAY
    store.append([make_line(4), make_line(5)])
    assert [line.seq for line in (await store.read(LogQuery(before_seq=5), 5)).lines] == [1, 2, 4]
    assert store._writer.files[1].prior_seq == 2


async def test_a_full_disk_refuses_the_append_and_the_same_lines_go_in_later(open_store: Open, make_line: Make) -> None:
    store = open_store()
    store.append([make_line(1)])
    connection = store._writer.files[0].write()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 1}")  # SQLITE_FULL, as from a full disk
    big = [make_line(seq, f"{seq**99:x}") for seq in range(2, 2000)]
    with pytest.raises(StoreUnavailable, match="make room"):
        store.append(big)
    assert await seqs(store) == [1]
    connection.execute("PRAGMA max_page_count=1000000")
    store.append(big)
    assert await seqs(store) == list(range(1, 2000))


async def test_compaction_that_finds_the_disk_full_tries_again(
    open_store: Open, make_line: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("etlmon.server.store.logs.compaction._FIRST_PAUSE_S", 0.01)
    store = open_store(round_bytes=10_000)
    store.append([make_line(1)])
    file = store._writer.files[0]
    pages = file.write().execute("PRAGMA page_count").fetchone()[0]
    with store._writer.turn.first():
        file.write().execute(f"PRAGMA max_page_count={pages + 60}")
    seq = 2
    while not store._writer.struggling and seq < 100_000:
        try:
            store.append([make_line(n, f"row {n} {n**20:x}") for n in range(seq, seq + 100)])
            seq += 100
        except StoreUnavailable:
            break
    await until(lambda: store._writer.struggling)
    assert await seqs(store) == list(range(1, seq))
    with store._writer.turn.first():
        file.write().execute("PRAGMA max_page_count=1000000")
    store.append([make_line(seq)])
    await until(lambda: not store._writer.is_due(file) and not store._writer.struggling)
    assert await seqs(store) == list(range(1, seq + 1))
    assert sum(getattr(r, "action", "") == "log_compaction_failed" for r in caplog.records) == 1


async def test_a_block_that_cannot_be_taken_back_is_hidden_and_goes_with_the_next_append(
    open_store: Open, make_line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.append([make_line(1)])
    ref = store.append([make_line(seq, "void") for seq in range(2, 9)])
    file = store._writer.files[0]

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(file, "_drop", refuse)
        store.discard(ref)
        assert file.void == {2}
    assert await seqs(store, head=8) == [1]
    store.append([make_line(4)])
    assert file.void == set()
    assert await seqs(store, head=8) == [1, 4]
    assert file.n_lines == 2


async def test_a_file_that_may_not_be_read_stops_the_start_and_is_not_renamed(
    open_store: Open, make_line: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.append([make_line(1)])
    store.close()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("etlmon.server.store.logs.catalog.open_for_writing", refuse)
    with pytest.raises(StoreRefused, match="the right to it"):
        open_store(1)
    assert names(tmp_path) == ["20251123-0.db"]


async def test_a_block_that_could_not_be_taken_back_is_not_compacted_when_its_day_ends(
    open_store: Open, make_line: Make, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.append([make_line(1)])
    ref = store.append([make_line(2, "void")])
    file = store._writer.files[0]

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(file, "_drop", refuse)
        store.discard(ref)
    clock.at += DAY
    store.append([make_line(5)])
    store.append([make_line(6)])
    await until(lambda: file.complete)
    assert file.n_lines == 1
    assert await seqs(store) == [1, 5, 6]


async def test_what_a_broken_round_left_is_removed_and_its_numbers_are_not_given_again(
    open_store: Open, make_line: Make, clock: Any, tmp_path: Path
) -> None:
    store = open_store()
    store.append([make_line(seq, f"word{seq}") for seq in range(1, 4)])
    store._compaction.stop()
    file = store._writer.files[0]
    left = build([Columns.of([make_line(seq, "leftover") for seq in range(1, 4)])], 1000)
    file.put_chunks(list(left))
    store.close()
    store = open_store(3)
    clock.at += DAY
    store.append([make_line(4)])
    await until(lambda: store._writer.files[0].complete)
    assert (await store.read(LogQuery(words="leftover"), 4)).lines == []
    assert [line.seq for line in (await store.read(LogQuery(words="word2"), 4)).lines] == [2]
    connection = sqlite3.connect(tmp_path / "logs" / "20251123-0.db")
    assert (
        connection.execute("SELECT count(*) FROM chunk").fetchone()
        == connection.execute("SELECT count(*) FROM body").fetchone()
    )
    assert connection.execute("SELECT min(id) FROM chunk").fetchone()[0] > 1
    connection.close()
