"""The commands of the queue against a real server: what they print, what they say beside it, how they end."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from etlmon.commands.job_submit import _run_at
from etlmon.core.errors import Usage
from world import ServerProcess, log, new_id, started, wait_until

CONFIG = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}
DEFINED = """
[jobs.orders_nightly]
type = "csv_processing"
owner = "ana"
priority = 5
retries = 2
timeout = "1h"
schedule = "30 3 * * *"
[jobs.orders_nightly.config]
source = {path = "in.csv"}
sink = {path = "out.csv"}

[jobs.ledger_close]
start = false
"""


@pytest.fixture
def server(data_dir: Path) -> Any:
    """A server that knows two names."""
    file = data_dir / "config.toml"
    file.write_text(DEFINED)
    file.chmod(0o600)
    running = ServerProcess(data_dir).start()
    yield running
    running.kill()


def queued(server: ServerProcess, **fields: Any) -> str:
    """A job that waits."""
    return str(server.api("POST", "/api/jobs", {"type": "csv_processing", "config": CONFIG, **fields})["id"])


def claimed(server: ServerProcess, worker: str = "w1", **fields: Any) -> dict[str, Any]:
    """The job that a worker gets, with its claim."""
    body = {"worker": {"id": worker, "host": "etl-3", "pid": 7, "concurrency": 4}, "waitMs": 20_000, **fields}
    (item,) = server.api("POST", "/api/queue/claim", body)["items"]
    return {"jobId": item["job"]["id"], "fencingToken": item["fencingToken"]}


def job_of(server: ServerProcess, job_id: str) -> dict[str, Any]:
    """The job by the server's word."""
    found: dict[str, Any] = server.api("GET", f"/api/jobs/{job_id}")
    return found


def out(result: subprocess.CompletedProcess[bytes]) -> str:
    """What a command that ended well printed."""
    assert result.returncode == 0, result
    return result.stdout.decode()


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, server: ServerProcess, *args: str) -> None:
        self.main, side = pty.openpty()
        env = server.env | {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "140", "PYTHONIOENCODING": "utf-8"}
        argv = [sys.executable, "-m", "etlmon", *args]
        self.process = subprocess.Popen(argv, env=env, stdin=side, stdout=side, stderr=side, start_new_session=True)
        os.close(side)
        self.seen = bytearray()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.main, 65536):
                self.seen += chunk
        except OSError:  # Linux says EIO when the last writer of a pty is gone
            return

    def until(self, text: str) -> None:
        """Wait until it has shown this."""
        wait_until(lambda: text.encode() in self.seen, f"{text!r} is shown")

    def types(self, text: str) -> None:
        """Type."""
        os.write(self.main, text.encode())

    def end(self) -> tuple[int, str]:
        """The exit code and all that was shown."""
        code = self.process.wait(timeout=30)
        self.reader.join(timeout=30)
        os.close(self.main)
        return code, self.seen.decode()


# -- submit


def test_submit_prints_the_id_alone_in_a_pipe_and_takes_the_definitions_word(server: ServerProcess) -> None:
    result = server.cli("jobs", "submit", "orders_nightly", "--tag", "env=prod", "--run-at", "10m")
    job = job_of(server, out(result).strip())
    assert result.stderr == b""
    assert (job["name"], job["status"], job["priority"], job["owner"]) == ("orders_nightly", "pending", 5, "ana")
    assert job["tags"] == {"env": "prod"}
    assert job["runAt"] > job["createdAt"]


def test_submit_takes_a_type_and_a_config_from_a_file_or_stdin(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "clean.json"
    file.write_text(json.dumps(CONFIG))
    first = out(server.cli("jobs", "submit", "--type", "csv_processing", "--config", str(file))).strip()
    words = ("--priority", "-3", "--retries", "2", "--timeout", "5m", "--name", "clean", "--after", first[-8:])
    line = ("jobs", "submit", "--type", "csv_processing", "--config", "-", *words, "-o", "json")
    second = json.loads(out(server.cli(*line, input=json.dumps(CONFIG).encode())))
    assert (second["name"], second["after"], second["priority"]) == ("clean", [first], -3)
    assert second["timeoutMs"] == 300_000
    assert second["config"]["sink"]["path"] == "out.csv"


def test_submit_says_loudly_that_the_queue_is_paused(server: ServerProcess) -> None:
    server.api("PUT", "/api/queue/pause", {"reason": "disk on etl-2"})
    result = server.cli("jobs", "submit", "orders_nightly")
    assert len(out(result).strip()) == 36
    told = result.stderr.decode()
    assert "THE QUEUE IS PAUSED by" in told
    assert ": disk on etl-2 (`etlmon queue resume`)." in told


def test_the_same_dedup_key_is_one_job_and_is_told(server: ServerProcess) -> None:
    words = ("jobs", "submit", "orders_nightly", "--dedup-key", "2026-11-23")
    first, second = server.cli(*words), server.cli(*words)
    assert out(first) == out(second)
    assert (first.stderr, b"nothing new is queued: orders_nightly is pending" in second.stderr) == (b"", True)


def test_a_refused_config_is_told_and_exits_1(server: ServerProcess) -> None:
    result = server.cli("jobs", "submit", "--type", "csv_processing", "--config", "-", input=b'{"sourse": {}}')
    assert result.returncode == 1
    assert b"csv_processing was refused: " in result.stderr
    assert job_of(server, result.stdout.decode().strip())["failure"]["kind"] == "rejected"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Give the NAME of a definition, or --type with --config."),
        (("orders_nightly", "--type", "csv_processing"), "Give the NAME of a definition"),
        (("orders_nightly", "--name", "x"), "--config and --name go with --type"),
        (("orders_nightly", "--run-at", "soon"), "--run-at takes a timestamp"),
        (("orders_nightly", "--tag", "prod"), "--tag takes KEY=VALUE"),
        (("orders_nightly", "--timeout", "long"), "--timeout: "),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_queued(
    server: ServerProcess, words: tuple[str, ...], told: str
) -> None:
    result = server.cli("jobs", "submit", *words)
    assert (result.returncode, told in result.stderr.decode()) == (2, True)
    assert server.api("GET", "/api/jobs")["items"] == []


def test_a_name_that_is_nowhere_defined_is_told_with_the_nearest(server: ServerProcess) -> None:
    result = server.cli("jobs", "submit", "orders_nightl")
    assert (result.returncode, b"orders_nightly" in result.stderr) == (2, True)


def test_a_start_is_a_duration_from_now_or_a_timestamp() -> None:
    assert _run_at("10m", 0) == "1970-01-01T00:10:00.000Z"
    assert _run_at("2026-01-02T03:30:00+01:00", 0) == "2026-01-02T02:30:00.000Z"
    with pytest.raises(Usage, match="--run-at takes"):
        _run_at("tomorrow", 0)


@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("failed", 1)])
def test_wait_prints_the_id_at_once_and_exits_by_the_jobs_end(server: ServerProcess, end: str, code: int) -> None:
    words = ("jobs", "submit", "--type", "csv_processing", "--config", "-", "--wait")
    argv = [sys.executable, "-m", "etlmon", *words]
    with subprocess.Popen(
        argv, env=server.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(CONFIG).encode())
        process.stdin.close()
        job_id = process.stdout.readline().decode().strip()
        claim = claimed(server)
        assert claim["jobId"] == job_id
        more = {"failure": {"message": "boom"}} if end == "failed" else {}
        server.report({"kind": end, **claim, **more})
        assert process.wait(30) == code


def test_follow_shows_the_log_and_then_how_it_ended(server: ServerProcess) -> None:
    argv = [sys.executable, "-m", "etlmon", "jobs", "submit", "orders_nightly", "--follow"]
    with subprocess.Popen(argv, env=server.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        claim = claimed(server)
        server.report({**log(claim["jobId"], "chunk 1"), **claim})
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"chunk 1\n"
        server.report({"kind": "completed", **claim})
        assert process.wait(30) == 0
        assert f"orders_nightly is queued as {claim['jobId']}" in process.stderr.read().decode()


# -- retry, priority


def test_retry_makes_a_new_job_of_a_finished_one_and_keeps_its_lineage(server: ServerProcess) -> None:
    old = queued(server, name="clean")
    server.report({"kind": "failed", **claimed(server), "failure": {"message": "boom"}})
    new = json.loads(out(server.cli("jobs", "retry", old[-8:], "--json", "id,retryOf,status")))
    assert [(job["retryOf"], job["status"]) for job in new] == [(old, "pending")]
    assert new[0]["id"] != old


def test_what_was_only_watched_is_not_retried_and_the_others_are(server: ServerProcess) -> None:
    seen, old = new_id(), queued(server)
    server.report({"kind": "failed", **claimed(server), "failure": {"message": "boom"}})
    server.report(started(seen), {"kind": "completed", "jobId": seen})
    alone = server.cli("jobs", "retry", seen)
    assert (alone.returncode, b"nothing to start again" in alone.stderr) == (6, True)
    both = server.cli("jobs", "retry", seen, old, "nowhere", "--json", "retryOf")
    assert (both.returncode, json.loads(both.stdout)) == (5, [{"retryOf": old}])
    assert f"etlmon: {seen}: etlmon only watched this job" in both.stderr.decode()
    assert server.cli("jobs", "retry", seen, old).returncode == 6


def test_retry_waits_for_the_new_jobs_end(server: ServerProcess) -> None:
    old = queued(server)
    server.report({"kind": "failed", **claimed(server), "failure": {"message": "boom"}})
    argv = [sys.executable, "-m", "etlmon", "jobs", "retry", old, "--wait"]
    with subprocess.Popen(argv, env=server.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        server.report({"kind": "completed", **claimed(server)})
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert b"completed" in process.stdout.read()


def test_priority_decides_who_is_next(server: ServerProcess) -> None:
    first, second = queued(server), queued(server)
    assert out(server.cli("jobs", "priority", second, "10")).startswith(f"{second}\tpending\t")
    assert out(server.cli("jobs", "priority", first, "-5", "--json", "priority")).split() == [
        *("[", "{", '"priority":', "-5", "}", "]")
    ]
    assert claimed(server)["jobId"] == second
    told = server.cli("jobs", "priority", second, "1")
    assert b"is running: its priority only tells in the queue" in told.stderr
    assert server.cli("jobs", "priority", first, "5000").returncode == 2


# -- bulk


def test_bulk_counts_first_and_acts_only_with_yes_where_nobody_can_be_asked(server: ServerProcess) -> None:
    ids = [queued(server, name="clean") for _ in range(3)]
    words = ("jobs", "bulk", "cancel", "-q", "name:clean")
    dry = server.cli(*words, "--dry-run")
    assert sorted(out(dry).split()) == sorted([*ids, *["eligible"] * 3])
    assert dry.stderr == b"etlmon: 3 jobs can be cancelled, 0 left alone.\n"
    unasked = server.cli(*words)
    assert (unasked.returncode, b"say --yes" in unasked.stderr) == (2, True)
    assert job_of(server, ids[0])["status"] == "pending"
    done = server.cli(*words, "--yes", "--reason", "wrong file", "-o", "json")
    assert json.loads(out(done))["done"] == 3
    assert job_of(server, ids[0])["summary"]["cancelReason"] == "wrong file"


def test_bulk_tells_who_is_left_alone_and_why(server: ServerProcess) -> None:
    job = new_id()
    server.report(started(job))
    result = server.cli("jobs", "bulk", "pause", "-q", "status:running", "--yes")
    assert result.returncode == 6
    assert result.stdout.decode().startswith(f"{job}\tleft\t")
    nothing = server.cli("jobs", "bulk", "retry", "-q", "name:nowhere", "--yes", "-o", "json")
    assert (json.loads(out(nothing))["ids"], nothing.stderr) == ([], b"etlmon: no job matches.\n")


def test_bulk_retries_what_failed(server: ServerProcess) -> None:
    old = queued(server)
    server.report({"kind": "failed", **claimed(server), "failure": {"message": "boom"}})
    job_id, word, new = out(server.cli("jobs", "bulk", "retry", "-q", "status:failed", "--yes")).split()
    assert (job_id, word) == (old, "done")
    assert job_of(server, new)["retryOf"] == old


@pytest.mark.parametrize(("answer", "status", "code"), [("y", "cancelled", 0), ("n", "pending", 130)])
def test_on_a_terminal_bulk_asks(server: ServerProcess, answer: str, status: str, code: int) -> None:
    job = queued(server)
    asked = Terminal(server, "jobs", "bulk", "cancel", "-q", "status:pending")
    asked.until("Cancel 1 job? [y/N]")
    asked.types(f"{answer}\n")
    assert asked.end()[0] == code
    assert job_of(server, job)["status"] == status


# -- definitions, queue, workers


def test_definitions_are_listed_with_how_they_start(server: ServerProcess) -> None:
    rows = [line.split("\t") for line in out(server.cli("definitions", "list")).splitlines()]
    assert [row[:3] for row in rows] == [["ledger_close", "", "expected"], ["orders_nightly", "csv_processing", "yes"]]
    assert rows[1][3:] == ["30 3 * * *", "ana", "5", "2", "1h"]
    assert out(server.cli("definitions", "list", "--startable", "-o", "name")) == "orders_nightly\n"
    assert json.loads(out(server.cli("definitions", "list", "--name", "led*", "--json", "start"))) == [{"start": False}]
    assert "EXPECTED" in Terminal(server, "definitions", "list", "-o", "wide").end()[1]


def test_the_queue_is_shown_paused_and_resumed(server: ServerProcess) -> None:
    queued(server, priority=10)
    queued(server, runAt="2100-01-01T00:00:00Z")
    row = out(server.cli("queue", "show")).rstrip("\n").split("\t")
    assert (row[:7], row[8]) == (["default", "open", "2", "1", "1", "0", "0"], "10: 1, 0: 1")
    paused = json.loads(out(server.cli("queue", "pause", "--reason", "disk", "-o", "json")))
    assert [(each["queue"], each["reason"]) for each in paused["paused"]] == [("*", "disk")]
    seen = Terminal(server, "queue", "show").end()[1]
    assert "PAUSED" in seen
    assert ": disk (`etlmon queue resume`)." in seen
    assert out(server.cli("queue", "resume")).split("\t")[1] == "open"
    assert out(server.cli("queue", "pause", "default")).split("\t")[1] == "PAUSED"
    server.api("PUT", "/api/queue/pause", {"queue": "*"})
    assert out(server.cli("queue", "resume", "default")).split("\t")[1] == "PAUSED"
    server.api("PUT", "/api/queue/pause", {"queue": "default"})
    assert out(server.cli("queue", "resume")).split("\t")[1] == "open"


def test_workers_are_listed_with_slots_and_leases(server: ServerProcess) -> None:
    assert out(server.cli("workers", "list", "-o", "json")) == "[]\n"
    job = queued(server)
    claimed(server, "w1")
    row = out(server.cli("workers", "list")).rstrip("\n").split("\t")
    assert row[:6] == ["w1", "busy", "etl-3", "7", "1/4", "default"]
    assert row[7] == job
    assert out(server.cli("workers", "list", "--status", "idle")) == ""
    assert server.cli("workers", "list", "--status", "lazy").returncode == 2
    assert job[-8:] in Terminal(server, "workers", "list", "-o", "wide").end()[1]


def test_a_viewer_reads_but_neither_submits_nor_pauses(server: ServerProcess) -> None:
    made = out(server.cli("tokens", "create", "--role", "viewer", "--name", "wall")).strip()
    env = {"ETLMON_TOKEN": made}
    assert server.cli("queue", "show", env=env).returncode == 0
    assert server.cli("workers", "list", env=env).returncode == 0
    assert server.cli("jobs", "submit", "orders_nightly", env=env).returncode == 4
    assert server.cli("queue", "pause", env=env).returncode == 4
