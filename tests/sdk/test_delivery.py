"""Each report that reached the spool arrives exactly once and in order, whatever happens in between."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from etlmon.sdk import patience
from etlmon.sdk.flush import Flusher
from etlmon.sdk.tail import Limits

PROGRAM = Path(__file__).with_name("producer_program.py")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long between tries as programs do."""
    monkeypatch.setattr(patience, "FIRST_S", 0.01)
    monkeypatch.setattr(patience, "MOST_S", 0.05)


class Producers:
    """Programs that report; who they were, and how much of each reached its spool."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.directory = url, directory
        self.spool_dir = directory / "spool"
        self.jobs: dict[str, Path] = {}

    def spawn(self, n: int, ending: str = "exit") -> subprocess.Popen[bytes]:
        job_id = str(uuid.uuid4())
        self.jobs[job_id] = self.directory / f"{job_id}.ledger"
        argv = [PROGRAM, self.url, self.spool_dir, job_id, self.jobs[job_id], n, ending]
        return subprocess.Popen([sys.executable, *map(str, argv)], stdin=subprocess.PIPE)

    def check(self, server: Any) -> int:
        """0 lost, 0 doubled, 0 out of order; how many lines there were."""
        total = 0
        for job_id, ledger in self.jobs.items():
            said = ledger.stat().st_size if ledger.exists() else 0
            lines = [r["message"] for r in server.of("log") if r["jobId"] == job_id]
            assert lines == [f"line {n}" for n in range(len(lines))]
            assert len(lines) - said in (0, 1)  # killed between the spool and the ledger
            steps = [r["step"] for r in server.of("step_started") if r["jobId"] == job_id]
            assert steps == [f"step {n}" for n in range(0, 50 * len(steps), 50)]
            total += len(lines)
        return total


def flush(producers: Producers, server: Any, lifetime_s: float = 60) -> None:
    flusher = Flusher(producers.spool_dir, server.endpoint, lifetime_s=lifetime_s, limits=Limits(batch_reports=37))
    assert flusher.run()
    left = sorted(path.name for path in producers.spool_dir.iterdir())
    assert [name for name in left if name.endswith((".mark", ".seg"))] == []


@pytest.mark.parametrize("seed", range(3))
def test_random_faults_between_us_and_the_server_lose_and_double_nothing(
    server: Any, make_reporter: Callable[..., Any], seed: int
) -> None:
    dice = random.Random(seed)
    faults = [None, None, None, "reset", "commit_and_reset", "status:503", "status:500", "html", "garbage", "empty"]
    server.fault = lambda n, body: dice.choice(faults) if n < 200 else None
    reporter = make_reporter(server.endpoint(), limits=Limits(batch_reports=20))
    for n in range(2000):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(60)
    assert server.messages() == [f"line {n}" for n in range(2000)]
    assert reporter.pending == 0


def test_a_batch_that_was_committed_but_never_answered_is_sent_again_unchanged(
    server: Any, make_reporter: Callable[..., Any]
) -> None:
    bodies: list[Any] = []

    def fault(n: int, body: dict[str, Any]) -> str | None:
        bodies.append((body["seq"], body["reports"]))
        return "commit_and_reset" if n % 2 == 0 else None

    server.fault = fault
    reporter = make_reporter(server.endpoint())
    for n in range(300):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(30)
    repeats = [(one, two) for one, two in pairwise(bodies) if one[0] == two[0]]
    assert repeats
    assert all(one == two for one, two in repeats)
    assert server.messages() == [f"line {n}" for n in range(300)]


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_producers_killed_in_the_middle_lose_and_double_nothing(server: Any, tmp_path: Path, rounds: int) -> None:
    dice = random.Random(rounds)
    server.fault = lambda n, body: dice.choice([None, None, None, "commit_and_reset", "reset"])
    producers = Producers(server.url, tmp_path)
    for _ in range(rounds):
        before = len(server.reports)
        process = producers.spawn(5_000, "hang")  # fewer than the spools of all of them may hold
        server.wait_for(lambda before=before: len(server.reports) > before + dice.randrange(1500))
        process.kill()
        process.communicate()
    server.fault = lambda n, body: None
    flush(producers, server)
    assert producers.check(server) > rounds * 100
    assert server.of("gap") == []


def test_what_reached_the_spool_before_os_exit_is_delivered_by_an_heir(server: Any, tmp_path: Path) -> None:
    server.fault = lambda n, body: "reset"
    producers = Producers(server.url, tmp_path)
    process = producers.spawn(1000, "os_exit")
    process.communicate(timeout=60)
    server.fault = lambda n, body: None
    flush(producers, server)
    assert producers.check(server) == 1000


def test_a_server_that_comes_back_gets_everything_in_order(
    make_server: Callable[..., Any], make_reporter: Callable[..., Any]
) -> None:
    first = make_server()
    reporter = make_reporter(first.endpoint())
    for n in range(100):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(10)
    first.stop()
    for n in range(100, 5000):
        reporter.log("j", "info", f"line {n}")
    assert not reporter.flush(0.1)
    second = make_server(first.port)
    second.marks, second.reports = first.marks, first.reports
    assert reporter.flush(30)
    assert second.messages() == [f"line {n}" for n in range(5000)]


def test_a_server_that_lost_its_store_is_told_how_much_is_gone_by_a_new_producer(
    server: Any, make_reporter: Callable[..., Any]
) -> None:
    reporter = make_reporter(server.endpoint())
    for n in range(3):
        reporter.log("j", "info", f"line {n}")
        assert reporter.flush(10)
    known = reporter.producer
    server.marks.clear()
    reporter.log("j", "info", "line 3")
    assert reporter.flush(10)
    server.wait_for(lambda: server.of("gap"))
    assert reporter.producer != known
    assert server.messages() == [f"line {n}" for n in range(4)]
    assert [gap["dropped"] for gap in server.of("gap")] == [3]


def test_other_content_under_our_seq_makes_us_a_new_producer(server: Any, make_reporter: Callable[..., Any]) -> None:
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "one")
    assert reporter.flush(10)
    known = reporter.producer
    server.marks[known] = (2, "a clone was here")
    reporter.log("j", "info", "two")
    assert reporter.flush(10)
    assert reporter.producer != known
    assert server.messages() == ["one", "two"]


def test_a_spool_put_back_from_a_backup_is_never_dropped_silently(
    server: Any, make_reporter: Callable[..., Any]
) -> None:
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "one")
    assert reporter.flush(10)
    server.marks[reporter.producer] = (9, "later")
    reporter.log("j", "info", "two")
    assert reporter.flush(10)
    assert server.messages() == ["one", "two"]


def test_a_server_that_refuses_every_new_producer_is_not_run_in_circles(
    server: Any, make_reporter: Callable[..., Any]
) -> None:
    server.fault = lambda n, body: "status:409"
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "one")
    assert not reporter.flush(0.5)
    assert len({request[1] for request in server.requests}) == 1
    assert len(server.requests) < 100
    server.fault = lambda n, body: None
    assert reporter.flush(20)
    assert server.messages() == ["one"]


def test_many_lines_of_one_instant_are_lines_like_any_other(server: Any, make_reporter: Callable[..., Any]) -> None:
    reporter = make_reporter(server.endpoint())
    lines = [f"line {n}" for n in range(300)]
    reporter.log_lines("j", lines[:100], None, at=0, logger="stdout")
    reporter.log_lines("j", lines[100:], ["info", "error"] * 100, at=1, logger=None)
    reporter.log_lines("j", ["\ud800", "x" * 100_000, 'quo"te\n\x00'], None, at=2, logger=None)
    reporter.log_lines("j", [], None, at=3, logger=None)
    reporter.log("j", "info", "last")
    assert reporter.flush(20)
    assert server.messages()[:300] == lines
    levels = [report.get("level", "info") for report in server.of("log")]
    assert levels == ["info"] * 100 + ["info", "error"] * 100 + ["info"] * 4
    assert server.of("log")[0]["at"] == "1970-01-01T00:00:00.000Z"
    one, two, three, last = server.messages()[300:]
    assert (one, three, last) == ("\ufffd", 'quo"te\n\x00', "last")
    assert len(two) <= 64 * 1024


def test_many_lines_that_find_no_room_are_counted(
    server: Any, make_reporter: Callable[..., Any], small: Limits
) -> None:
    server.fault = lambda n, body: "reset"
    reporter = make_reporter(server.endpoint(), limits=small)
    reporter.log("j", "info", "first")
    for at in range(50):
        reporter.log_lines("j", ["x" * 200] * 20, None, at=at, logger=None)
    server.fault = lambda n, body: None
    assert reporter.dropped > 0
    reporter.report({"kind": "completed", "jobId": "j"})
    assert reporter.flush(20)
    assert reporter.dropped == 1001 - len(server.messages()) == sum(gap["dropped"] for gap in server.of("gap"))
