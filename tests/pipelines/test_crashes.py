"""SIGKILL at any point: the resumed job's output and rejects are byte for byte those of an undisturbed one."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from world import wait_until

KILL_AT = """
import atexit, os, signal
import etlmon.pipelines.run
from etlmon.pipelines.sqlite_sink import SqliteSink
etlmon.pipelines.run.SAVE_S = 0
n = [0]
def mortal(call):
    def act(*args, **kwargs):
        for step in (lambda: None, lambda: call(*args, **kwargs)):
            found = step()
            n[0] += 1
            if n[0] == {at}:
                os.kill(os.getpid(), signal.SIGKILL)
        return found
    return act
os.fsync, os.replace = mortal(os.fsync), mortal(os.replace)
SqliteSink.sync, SqliteSink.seal, SqliteSink.place = map(mortal, (SqliteSink.sync, SqliteSink.seal, SqliteSink.place))
atexit.register(lambda: open({count!r}, "w").write(str(n[0])))
"""
"""Dies before or after the n-th time that it syncs or moves something; a checkpoint is taken after each batch."""

ROWS = 1200
SINKS: dict[str, dict[str, Any]] = {
    "csv": {"path": "out.csv"},
    "csv appended": {"path": "old.csv", "mode": "append"},
    "jsonl": {"path": "out.jsonl"},
    "sqlite": {"path": "out.db", "table": "orders"},
    "sqlite appended": {"path": "old.db", "table": "orders", "mode": "append"},
}


def source() -> str:
    """Quotes, line breaks in fields, repeats and refused records everywhere."""
    lines = ["id,name,price"]
    for n in range(ROWS):
        name = f'"order ""{n}""\nof ana"' if n % 7 == 0 else f"order {n}"
        price = "free" if n % 11 == 0 else f"{n / 8}"
        lines.append(f"{n // 2 if n % 50 == 1 else n},{name},{price}" + (",more" if n % 97 == 0 else ""))
    return "\n".join(lines) + "\n"


COLUMNS = {"id": {"type": "integer", "unique": True}, "price": {"type": "number", "required": True}}


def prepare(room: Any, kind: str, *, packed: bool) -> tuple[str, dict[str, Any]]:
    room.write("in.csv.gz" if packed else "in.csv", gzip.compress(source().encode()) if packed else source())
    room.write("old.csv", "id,name,price\n-1,before,0.5\n")
    with contextlib.closing(sqlite3.connect(room.files / "old.db")) as old:
        old.execute("CREATE TABLE orders (id INTEGER, name TEXT, price REAL)")
        old.execute("INSERT INTO orders VALUES (-1, 'before', 0.5)")
        old.commit()
    config = {
        "source": {"path": "in.csv*"},
        "sink": SINKS[kind],
        "columns": COLUMNS,
        "batch_rows": 100,
        "rejects": {"path": "no.jsonl"},
        "expect": {"sum": {"price": 76170.625}},
    }
    return "csv_processing", config


def outcome(room: Any, sink: dict[str, Any]) -> tuple[object, bytes]:
    path = room.files / sink["path"]
    if path.suffix == ".db":
        with contextlib.closing(sqlite3.connect(path)) as db:
            return list(db.iterdump()), room.read("no.jsonl")
    return path.read_bytes(), room.read("no.jsonl")


def rooms(room: Any, tmp_path: Path, n: int) -> list[Any]:
    made = []
    for at in range(n):
        (tmp_path / f"room-{at}").mkdir()
        made.append(type(room)(tmp_path / f"room-{at}"))
    return made


@pytest.mark.parametrize("kind", SINKS)
def test_a_job_that_was_killed_anywhere_ends_as_if_it_had_not_been(room: Any, tmp_path: Path, kind: str) -> None:
    """Killed at each step between two batches, and in the end at every second one."""
    count = tmp_path / "count"
    [undisturbed] = rooms(room, tmp_path, 1)
    config = prepare(undisturbed, kind, packed=False)
    config[1].pop("expect")
    assert undisturbed.finish(undisturbed.start(*config, code=KILL_AT.format(at=0, count=str(count))))["status"]
    wanted, steps = outcome(undisturbed, SINKS[kind]), int(count.read_text())
    for at in (2, *range(steps // 2, steps // 2 + 10), *range(steps - 24, steps + 1, 2)):
        (tmp_path / f"at-{at}").mkdir()
        other = type(room)(tmp_path / f"at-{at}")
        prepare(other, kind, packed=False)
        process = other.start(*config, code=KILL_AT.format(at=at, count=str(count)))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert other.run(*config)["status"] == "completed"
        assert outcome(other, SINKS[kind]) == wanted
        assert [name for name in other.left() if name.startswith(".")] == []


def test_a_job_that_is_killed_again_and_again_still_ends_the_same(room: Any, tmp_path: Path) -> None:
    undisturbed, other = rooms(room, tmp_path, 2)
    config = prepare(undisturbed, "csv", packed=True)
    config[1].pop("expect")
    prepare(other, "csv", packed=True)
    assert undisturbed.run(*config)["status"] == "completed"
    kills = 0
    while True:
        process = other.start(*config, code=KILL_AT.format(at=30, count=str(tmp_path / "count")))
        out, _ = process.communicate()
        if process.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert kills >= 2
    assert b'"completed"' in out
    assert outcome(other, SINKS["csv"]) == outcome(undisturbed, SINKS["csv"])


SLOW = """
import os, time
import etlmon.pipelines.flow as flow
tell = flow.Flow._tell
def told(self, **known):
    tell(self, **known)
    open({mark!r}, "a").write("x")
    while not os.path.exists({go!r}):
        time.sleep(0.005)
flow.Flow._tell = told
"""


def test_a_worker_that_drains_gets_the_job_back_and_the_next_attempt_goes_on(room: Any, tmp_path: Path) -> None:
    undisturbed, other = rooms(room, tmp_path, 2)
    config = prepare(undisturbed, "csv", packed=False)
    config[1].pop("expect")
    prepare(other, "csv", packed=False)
    assert undisturbed.run(*config)["status"] == "completed"
    mark, go = tmp_path / "mark", tmp_path / "go"
    process = other.start(*config, code=SLOW.format(mark=str(mark), go=str(go)))
    wait_until(mark.exists, "the first batch is written")
    process.send_signal(signal.SIGTERM)
    go.touch()
    result = other.finish(process)
    assert process.returncode == 0
    assert result["status"] == "released"
    assert 0 < result["summary"]["recordsIn"] < ROWS
    assert not (other.files / "out.csv").exists()
    assert other.run(*config)["status"] == "completed"
    assert outcome(other, SINKS["csv"]) == outcome(undisturbed, SINKS["csv"])


def test_a_cancelled_job_leaves_the_target_as_it_was(room: Any, tmp_path: Path) -> None:
    config = prepare(room, "csv", packed=False)
    room.write("out.csv", "as it was")
    before = room.left()
    mark, go = tmp_path / "mark", tmp_path / "go"
    process = room.start(*config, code=SLOW.format(mark=str(mark), go=str(go)))
    wait_until(mark.exists, "the first batch is written")
    process.send_signal(signal.SIGINT)
    go.touch()
    assert room.finish(process)["status"] == "cancelled"
    assert room.text("out.csv") == "as it was"
    assert room.left() == before


@pytest.mark.parametrize("change", ["grown", "replaced", "gone"])
def test_a_source_that_changes_midway_fails_the_job_with_a_sentence(room: Any, tmp_path: Path, change: str) -> None:
    config = prepare(room, "csv", packed=False)
    room.write("out.csv", "as it was")
    mark, go = tmp_path / "mark", tmp_path / "go"
    process = room.start(*config, code=SLOW.format(mark=str(mark), go=str(go)))
    wait_until(mark.exists, "the first batch is written")
    match change:
        case "grown":
            with open(room.files / "in.csv", "a") as file:
                file.write("5000,late,1\n")
        case "replaced":
            room.write("other.csv", source())
            os.replace(room.files / "other.csv", room.files / "in.csv")
        case _:
            (room.files / "in.csv").unlink()
    go.touch()
    result = room.finish(process)
    assert result["status"] == "failed"
    assert {"grown": "changed", "replaced": "replaced", "gone": "gone"}[change] in result["failure"]["message"]
    assert room.text("out.csv") == "as it was"
    assert [name for name in room.left() if name.startswith(".")] == []


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_full_disk_fails_the_job_and_leaves_nothing_behind(room: Any, kind: str) -> None:
    config = prepare(room, kind, packed=False)
    config[1].update(columns={}, expect={})
    room.write(SINKS[kind]["path"], "as it was")
    full = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, 15_000))\nimport etlmon.pipelines.main"
    process = room.start(*config, code=full)
    result = room.finish(process)
    assert result["status"] == "failed"
    assert "disk is full" in result["failure"]["message"]
    assert room.text(SINKS[kind]["path"]) == "as it was"
    assert [name for name in room.left() if name.startswith(".")] == []
