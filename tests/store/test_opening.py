"""A store is opened only when it is what it should be; every refusal says what to do next."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etlmon.core.errors import StoreRefused
from etlmon.server.store import migrations, opening
from etlmon.server.store.lock import ServerLock
from etlmon.server.store.marker import read_marker
from etlmon.server.store.opening import mark_restored, open_main, require_sqlite

SCHEMA_V1 = Path(__file__).with_name("schema_v1.db")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def filled(open_store: Callable[..., Any], ops: Any, make_job: Any, data_dir: Path) -> Path:
    """A closed store with some jobs in it."""
    store = (await open_store(data_dir)).store
    await asyncio.gather(*(store.write(ops.put(make_job(f"j{n}", current_step="x" * 200))) for n in range(300)))
    await store.close()
    return data_dir


def refusal(data_dir: Path) -> str:
    with pytest.raises(StoreRefused) as refused:
        open_main(data_dir)
    return refused.value.detail


def test_a_second_server_is_told_who_holds_the_store(data_dir: Path) -> None:
    data_dir.mkdir()
    lock = ServerLock.take(data_dir)
    assert str(os.getpid()) in refusal(data_dir)
    lock.release()
    opened = open_main(data_dir)
    opened.connection.close()
    opened.lock.release()


def test_the_lock_of_a_dead_server_is_free(data_dir: Path) -> None:
    data_dir.mkdir()
    program = (
        "import os, pathlib, sys; from etlmon.server.store.lock import ServerLock; "
        "ServerLock.take(pathlib.Path(sys.argv[1])); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(data_dir)], check=False)
    ServerLock.take(data_dir).release()


async def test_an_empty_file_is_a_lost_store_and_not_a_fresh_one(filled: Path) -> None:
    (filled / "main.db").write_bytes(b"")
    assert "empty" in refusal(filled)


async def test_a_missing_file_is_not_made_anew_where_a_store_lived(filled: Path) -> None:
    (filled / "main.db").unlink()
    assert "main.marker" in refusal(filled)
    (filled / "main.marker").unlink()
    open_main(filled).lock.release()


def test_a_log_without_its_database_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "main.db-wal").write_bytes(b"frames")
    assert "main.db-wal" in refusal(data_dir)


@pytest.mark.parametrize("content", [b"garbage", b"garbage" * 1000, b"SQLite format 3\0short"])
def test_what_is_no_database_is_refused(data_dir: Path, content: bytes) -> None:
    data_dir.mkdir()
    (data_dir / "main.db").write_bytes(content)
    assert "not an SQLite database" in refusal(data_dir)


def test_another_programs_database_is_refused_and_untouched(data_dir: Path) -> None:
    data_dir.mkdir()
    other = sqlite3.connect(data_dir / "main.db")
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    before = (data_dir / "main.db").read_bytes()
    assert "another program" in refusal(data_dir)
    assert (data_dir / "main.db").read_bytes() == before


async def test_a_newer_schema_is_refused(filled: Path) -> None:
    newer = sqlite3.connect(filled / "main.db")
    newer.execute(f"PRAGMA user_version = {migrations.newest() + 1}")
    newer.close()
    assert f"schema {migrations.newest() + 1}" in refusal(filled)


async def test_a_newer_schema_that_is_still_in_the_log_is_refused(filled: Path) -> None:
    newer = sqlite3.connect(filled / "main.db", isolation_level=None)
    newer.execute("PRAGMA wal_autocheckpoint = 0")
    newer.execute(f"PRAGMA user_version = {migrations.newest() + 1}")
    assert (filled / "main.db-wal").stat().st_size
    assert f"schema {migrations.newest() + 1}" in refusal(filled)
    newer.close()


@pytest.mark.parametrize("page", [2, 7, 20, -1])
async def test_a_damaged_page_is_refused_with_the_way_back(filled: Path, page: int) -> None:
    path = filled / "main.db"
    n_pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek((page % n_pages) * 4096)
        file.write(os.urandom(4096))
    assert "backup" in refusal(filled)


@pytest.mark.parametrize("version", [(3, 36, 9), (3, 7, 0)])
def test_an_old_sqlite_is_refused_with_the_remedy(version: tuple[int, ...]) -> None:
    with pytest.raises(StoreRefused, match=r"3\.37"):
        require_sqlite(version)
    require_sqlite((3, 37, 0))


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "--data-dir" in refusal(tmp_path / "file" / "data")


def test_a_network_file_system_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "file_system", lambda path: "nfs4")
    assert "nfs4" in refusal(data_dir)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of mounts in /proc on Linux alone")
def test_the_file_system_of_a_directory_is_known() -> None:
    assert opening.file_system(Path("/proc/self")) == "proc"


def test_a_directory_that_others_may_read_is_closed(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    opened = open_main(data_dir)
    assert data_dir.stat().st_mode & 0o777 == 0o700
    opened.connection.close()
    opened.lock.release()


async def test_a_store_locked_by_another_process_is_refused(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = tuple(p.replace("busy_timeout = 5000", "busy_timeout = 10") for p in opening.WRITER_PRAGMAS)
    monkeypatch.setattr(opening, "WRITER_PRAGMAS", quick)
    other = sqlite3.connect(filled / "main.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO meta VALUES ('x', 1)")
    try:
        assert "locked" in refusal(filled)
    finally:
        other.execute("ROLLBACK")
        other.close()


# Epochs.


async def test_the_epoch_stays_through_restarts_in_order_and_by_kill(
    open_store: Callable[..., Any], ops: Any, make_job: Any, data_dir: Path
) -> None:
    store = (await open_store(data_dir)).store
    await store.write(ops.put(make_job("j1")))
    await store.close()
    for _ in range(2):
        opened = open_main(data_dir)
        assert (opened.epoch, opened.head, opened.restored) == (store.epoch, 1, False)
        opened.connection.close()  # no clean stop is remembered: as after a kill
        opened.lock.release()


async def reopened_epoch(data_dir: Path) -> tuple[str, bool]:
    opened = open_main(data_dir)
    opened.connection.close()
    opened.lock.release()
    return opened.epoch, opened.restored


async def test_an_older_copy_put_back_begins_a_new_epoch(
    open_store: Callable[..., Any], ops: Any, make_job: Any, data_dir: Path, tmp_path: Path
) -> None:
    store = (await open_store(data_dir)).store
    await store.write(ops.put(make_job("j1")))
    await store.close()
    shutil.copy(data_dir / "main.db", tmp_path / "backup.db")
    store = (await open_store(data_dir)).store
    await store.write(ops.put(make_job("j2")))
    await store.close()
    with (data_dir / "main.db").open("r+b") as file:  # over the same inode, as cp does
        file.write((tmp_path / "backup.db").read_bytes())
        file.truncate()
    epoch, restored = await reopened_epoch(data_dir)
    assert restored
    assert epoch != store.epoch
    assert await reopened_epoch(data_dir) == (epoch, False)


async def test_another_file_in_its_place_begins_a_new_epoch(filled: Path, tmp_path: Path) -> None:
    marker = read_marker(filled)
    shutil.copy(filled / "main.db", tmp_path / "copy.db")
    os.replace(tmp_path / "copy.db", filled / "main.db")
    epoch, restored = await reopened_epoch(filled)
    assert (restored, epoch == marker.epoch) == (True, False)


async def test_a_copy_marked_as_a_backup_begins_a_new_epoch(filled: Path) -> None:
    marker = read_marker(filled)
    mark_restored(filled / "main.db")
    epoch, restored = await reopened_epoch(filled)
    assert (restored, epoch == marker.epoch) == (True, False)
    assert await reopened_epoch(filled) == (epoch, False)


async def test_a_store_brought_to_a_new_directory_begins_a_new_epoch(filled: Path, tmp_path: Path) -> None:
    marker = read_marker(filled)
    (tmp_path / "new").mkdir()
    shutil.copy(filled / "main.db", tmp_path / "new" / "main.db")
    epoch, restored = await reopened_epoch(tmp_path / "new")
    assert (restored, epoch == marker.epoch) == (True, False)


async def test_the_log_of_the_file_before_is_not_replayed_over_a_restored_one(filled: Path, tmp_path: Path) -> None:
    shutil.copy(filled / "main.db", tmp_path / "copy.db")
    os.replace(tmp_path / "copy.db", filled / "main.db")
    (filled / "main.db-wal").write_bytes(b"frames of the file before")
    assert "main.db-wal" in refusal(filled)


async def test_an_unreadable_marker_is_taken_for_a_restored_store(filled: Path) -> None:
    (filled / "main.marker").write_bytes(b"\0\0")
    assert (await reopened_epoch(filled))[1]


# Schema.


async def test_a_store_of_schema_1_opens_for_ever(open_store: Callable[..., Any], data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    shutil.copy(SCHEMA_V1, data_dir / "main.db")
    store = (await open_store(data_dir)).store
    jobs = {job.id: job for job in await store.active_jobs()}
    assert jobs["0190f6aa-run"].tags == {"env": "prod"}
    assert await store.counts_by_status() == {"completed": 1, "failed": 1, "running": 1}
    items, reached = await store.items_after(0, store.head, 100)
    assert reached == store.head
    assert [item.seq for item in items] == list(range(1, 8))
    assert [token.name for token in await store.tokens()] == ["admin"]


def test_a_failing_migration_leaves_the_schema_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(db)
    schema = migrations.newest()
    broken = ((99, "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1)"),)
    monkeypatch.setattr(migrations, "scripts", lambda: (*broken,))
    with pytest.raises(sqlite3.OperationalError):
        migrations.migrate(db)
    assert db.execute("PRAGMA user_version").fetchone() == (schema,)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    db.close()


def test_every_index_says_which_query_it_is_for() -> None:
    for _, script in migrations.scripts():
        lines = script.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("CREATE INDEX"):
                above = next(lines[n] for n in range(number - 1, -1, -1) if not lines[n].startswith("CREATE INDEX"))
                assert above.startswith("--"), line
