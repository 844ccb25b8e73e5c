"""What may happen to main.db under the server: locked by another (F9), moved, damaged, replaced (D88)."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from world import ServerProcess, log, new_id, started, wait_until

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
db.execute("ROLLBACK")
"""


@pytest.fixture
def lock_store() -> Iterator[Any]:
    """Another process takes the write lock of a server's main.db; call the result to let go."""
    running: list[subprocess.Popen[bytes]] = []

    def lock(server: Any) -> Any:
        argv = [sys.executable, "-c", LOCKER, str(server.data_dir / "main.db")]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        return lambda: process.communicate(timeout=10)

    yield lock
    for process in running:
        if process.poll() is None:
            process.kill()
            process.communicate()


class Asker(threading.Thread):
    """Asks for /api/health again and again; how long each answer took."""

    def __init__(self, server: Any) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.took: list[float] = []
        self.statuses: set[int] = set()
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(0.02):
            began = time.monotonic()
            status, _, _ = self.server.raw("GET", "/api/health", token="")
            self.took.append(time.monotonic() - began)
            self.statuses.add(status)

    def slowest_but_one_in_a_hundred(self) -> float:
        self.done.set()
        self.join()
        return sorted(self.took)[int(len(self.took) * 0.99)]


def test_a_short_lock_by_another_process_only_delays(server: Any, lock_store: Any) -> None:
    job = new_id()
    server.report(started(job))
    unlock = lock_store(server)
    asker = Asker(server)
    answers: list[Any] = []
    reporter = threading.Thread(target=lambda: answers.append(server.report(log(job, "late"))))
    reporter.start()
    wait_until(lambda: len(asker.took) >= 20, "health answers while the store is locked")
    assert not answers
    unlock()
    reporter.join(10)
    assert answers[0]["accepted"] == 1
    assert asker.slowest_but_one_in_a_hundred() < 2
    assert asker.statuses == {200}


@pytest.mark.slow
def test_a_lock_of_ten_seconds_is_told_as_503_while_health_and_reading_go_on(server: Any, lock_store: Any) -> None:
    job, producer = new_id(), new_id()
    server.report(started(job), log(job, "before"), producer=producer, seq=1)
    unlock, began = lock_store(server), time.monotonic()
    asker = Asker(server)
    body = {"reports": [log(job, "during")], "producer": producer, "seq": 2}
    status, answer, headers = server.raw("POST", "/api/reports", body)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert "locked by another process" in json.loads(answer)["detail"]
    assert time.monotonic() - began < 10
    while time.monotonic() - began < 10:
        status, _, _ = server.raw("POST", "/api/reports", body)
        assert status == 503
        health = server.api("GET", "/api/health")
        assert (health["status"], "locked" in health["checks"]["store"]) == ("degraded", True)
        assert [line["message"] for line in server.api("GET", f"/api/jobs/{job}/logs")["items"]] == ["before"]
    assert asker.slowest_but_one_in_a_hundred() < 1
    unlock()
    wait_until(lambda: server.api("GET", "/api/health")["status"] == "ok", "the store commits again")
    assert server.report(*body["reports"], producer=producer, seq=2)["ack"] == 2
    lines = server.api("GET", f"/api/jobs/{job}/logs")["items"]
    assert [line["message"] for line in lines] == ["before", "during"]


def test_a_store_that_is_moved_away_takes_nothing_and_goes_on_when_it_is_back(server: Any) -> None:
    job = new_id()
    server.report(started(job))
    here, there = server.data_dir / "main.db", server.data_dir / "moved.db"
    here.rename(there)
    status, answer, _ = server.raw("POST", "/api/reports", {"reports": [log(job, "into the void")]})
    assert (status, "moved" in json.loads(answer)["detail"]) == (503, True)
    assert server.api("GET", "/api/health")["status"] == "degraded"
    there.rename(here)
    wait_until(lambda: server.api("GET", "/api/health")["status"] == "ok", "the store is itself again")
    assert server.report(log(job, "kept"))["accepted"] == 1
    assert [line["message"] for line in server.api("GET", f"/api/jobs/{job}/logs")["items"]] == ["kept"]


def test_everything_in_the_data_directory_is_for_its_owner_alone(server: Any) -> None:
    job = new_id()
    server.report(started(job), log(job, "secret"))
    paths = [path for path in server.data_dir.rglob("*") if path.name != "server.log"]
    assert {"main.db", "main.db-wal", "main.db-shm", "admin.token", "server.json"} <= {path.name for path in paths}
    assert [path for path in [server.data_dir, *paths] if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def spoil_page(path: Any) -> None:
    """Overwrite a page in the middle."""
    with open(path, "r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 4096)


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that did some work and was stopped."""
    directory = tmp_path_factory.mktemp("left")
    server = ServerProcess(directory).start()
    try:
        for _ in range(20):
            job = new_id()
            server.report(started(job), *[log(job, "x") for _ in range(20)])
        assert server.stop() == 0
    finally:
        server.kill()
    return directory


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (spoil_page, "damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "main.db"),
    ],
    ids=["empty", "damaged page", "a directory"],
)
def test_a_store_that_is_not_as_it_was_left_is_refused_with_the_next_step_and_not_touched(
    left_behind: Path, tmp_path: Path, spoil: Any, words: str
) -> None:
    server = ServerProcess(Path(shutil.copytree(left_behind, tmp_path / "data")))
    path = server.data_dir / "main.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    outcome = server.cli("server", "--data-dir", str(server.data_dir), "--port", "0", "--no-worker")
    assert outcome.returncode == 1
    assert words in outcome.stderr.decode()
    assert b"Traceback" not in outcome.stderr
    assert len(outcome.stderr.decode().strip().splitlines()) <= 2
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_page_that_goes_bad_while_serving_is_noticed_and_nothing_more_is_committed(server: Any) -> None:
    ids = [new_id() for _ in range(300)]
    for at in range(0, 300, 50):
        server.report(*[started(job, f"orders_{n}") for n, job in enumerate(ids[at : at + 50], at)])
    assert server.stop() == 0
    server.start()
    path = server.data_dir / "main.db"
    size = path.stat().st_size
    with open(path, "r+b") as file:
        for page in range(2, size // 4096, 2):
            file.seek(page * 4096)
            file.write(b"\x00" * 4096)
    statuses = {server.raw("GET", f"/api/jobs/{job}")[0] for job in ids[::10]}
    statuses |= {server.raw("GET", "/api/jobs?limit=1000")[0]}
    statuses |= {server.raw("POST", "/api/reports", {"reports": [started(new_id())]})[0] for _ in range(5)}
    assert 503 in statuses <= {200, 404, 503}
    health = server.api("GET", "/api/health")
    assert (health["status"], "damaged" in health["checks"]["store"]) == ("degraded", True)
    assert "The store cannot commit" in server.log()
    assert server.raw("POST", "/api/reports", {"reports": [started(new_id())]})[0] == 503
    assert server.stop() == 0


def test_a_backup_put_in_its_place_begins_a_new_epoch_and_tells_readers_so(server: Any, view: Any) -> None:
    job = new_id()
    server.report(started(job), log(job, "one"))
    assert server.stop() == 0
    backup = (server.data_dir / "main.db").read_bytes()
    server.start()
    viewer = view(server, topics="logs")
    server.report(log(job, "two"))
    wait_until(lambda: viewer.lines() == ["two"], "the viewer has the line")
    server.kill()
    for name in ("main.db", "main.db-wal", "main.db-shm"):
        (server.data_dir / name).unlink(missing_ok=True)
    (server.data_dir / "main.db").write_bytes(backup)
    server.start()
    wait_until(lambda: viewer.resets, "the viewer is told that its place is gone")
    server.report(log(job, "three"))
    wait_until(lambda: viewer.lines() == ["two", "three"], "and goes on live")
    assert [line["message"] for line in server.api("GET", f"/api/jobs/{job}/logs")["items"]] == ["one", "three"]
