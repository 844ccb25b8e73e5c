"""Processes that are killed or asked to stop, on either side, in the middle of their work (F1–F5, F24–F27)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from etlmon.core.ids import uuid7
from world import DEADLINE_S, log, new_id, started, wait_until


def flush(server: Any, directory: Path, url: str | None = None) -> None:
    """An heir delivers what dead programs left in a spool directory."""
    argv = [sys.executable, "-m", "etlmon.sdk.flush", "--for", "20", str(directory)]
    env = server.env | ({} if url is None else {"ETLMON_URL": url, "ETLMON_TOKEN": server.token})
    subprocess.run(argv, env=env, check=True, timeout=60)


class Load(threading.Thread):
    """Posts batches of one producer, one after another, as fast as the server takes them; remembers what was acked."""

    LINES = 200

    def __init__(self, server: Any) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.job, self.producer = new_id(), new_id()
        self.acked = 0
        self.refused: set[int] = set()
        self.fault: Exception | None = None
        self.done = threading.Event()
        self.start()

    def batch(self, seq: int) -> dict[str, Any]:
        lines = [log(self.job, f"{seq}.{n}") for n in range(self.LINES)]
        return {"producer": self.producer, "seq": seq, "reports": lines}

    def run(self) -> None:
        while not self.done.is_set():
            try:
                status, _, _ = self.server.raw("POST", "/api/reports", self.batch(self.acked + 1))
            except OSError as fault:
                self.fault = fault
                return
            if status != 200:
                self.refused.add(status)
                return
            self.acked += 1

    def end(self) -> None:
        self.done.set()
        self.join(DEADLINE_S)

    def expected(self, n_batches: int) -> list[str]:
        return [f"{seq}.{n}" for seq in range(1, n_batches + 1) for n in range(self.LINES)]


def check_all_or_none(server: Any, loads: list[Load], stored_lines: Any) -> None:
    """Each batch is there whole or not at all, and every acknowledged one is there."""
    for load in loads:
        load.end()
        lines = stored_lines(server, load.job)
        assert lines == load.expected(len(lines) // Load.LINES)
        assert len(lines) // Load.LINES - load.acked in (0, 1)  # committed, and killed before it could say so


def test_a_server_killed_under_load_has_every_batch_whole_or_not_at_all(server: Any, stored_lines: Any) -> None:
    loads: list[Load] = []
    for _ in range(2):
        running = [Load(server) for _ in range(3)]
        loads += running
        wait_until(lambda running=running: all(load.acked >= 3 for load in running), "the load is taken")
        server.kill()
        for load in running:
            load.end()
        server.start()
    check_all_or_none(server, loads, stored_lines)
    for load in loads:
        held = len(stored_lines(server, load.job)) // Load.LINES
        if held > load.acked:  # the answer never came: sent again, it is taken for what it is
            body = load.batch(held)
            again = server.report(*body["reports"], producer=load.producer, seq=held)
            assert (again["ack"], again["accepted"]) == (held, 0)


def test_a_stop_under_load_answers_what_it_has_loses_nothing_and_exits_0(
    server: Any, stored_lines: Any, view: Any, spawn_job: Any, numbered: Any
) -> None:
    viewers = [view(server, topics="jobs,logs") for _ in range(2)]
    job = spawn_job(server, pause_s=0.002)
    loads = [Load(server) for _ in range(3)]
    wait_until(lambda: all(load.acked >= 3 for load in loads), "the load is taken")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    assert all(load.refused <= {503} for load in loads)
    server.start()
    check_all_or_none(server, loads, stored_lines)
    last = f"line {job.n_said}"
    wait_until(lambda: last in stored_lines(server, job.id), "the agent found the server again")
    assert job.stop() == 0
    assert server.api("GET", f"/api/jobs/{job.id}")["status"] == "completed"
    assert stored_lines(server, job.id) == numbered(job.n_said)
    for viewer in viewers:
        wait_until(lambda viewer=viewer: viewer.of(job.id)[-1]["status"] == "completed", "the viewer came back")
        assert viewer.resets == []
        lines = viewer.lines(job.id)
        assert lines == numbered(job.n_said)[-len(lines) :]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM twice", "SIGKILL in the drain"])
def test_a_second_signal_in_the_drain_loses_nothing_either(
    server: Any, stored_lines: Any, view: Any, second: signal.Signals, dial: Any
) -> None:
    view(server, topics="logs")
    deaf = dial(
        server,
        b"GET /ws?topics=logs HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        + f"Authorization: Bearer {server.token}\r\n\r\n".encode(),
    )
    loads = [Load(server) for _ in range(2)]
    wait_until(lambda: all(load.acked >= 3 for load in loads), "the load is taken")
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "The server stops" in server.log(), "it drains")
    server.process.send_signal(second)
    code = server.process.wait(DEADLINE_S)
    assert code == (-signal.SIGKILL if second is signal.SIGKILL else 0)
    assert time.monotonic() - began < 10
    deaf.close()
    server.start()
    check_all_or_none(server, loads, stored_lines)


def test_what_a_killed_agent_had_in_its_spool_is_delivered_by_an_heir(
    server: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, tmp_path: Path
) -> None:
    proxy, spool = make_proxy(server), tmp_path / "spool"
    job = spawn_job(server, url=proxy.url, spool_dir=spool)
    job.say(20)
    proxy.refuse()
    proxy.cut()
    job.say(50)
    job.kill()
    proxy.refuse(on=False)
    flush(server, spool, proxy.url)
    lines = stored_lines(server, job.id)
    assert lines == [f"line {n}" for n in range(len(lines))]
    assert len(lines) - job.n_said in (0, 1)  # killed between the spool and the ledger


def test_an_agent_killed_before_it_heard_the_acknowledgement_doubles_nothing(
    server: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, tmp_path: Path
) -> None:
    from faults.proxy import Line

    proxy, spool = make_proxy(server, lambda n: Line(swallow_down=True)), tmp_path / "spool"
    job = spawn_job(server, url=proxy.url, spool_dir=spool)
    job.say(20)
    wait_until(lambda: server.raw("GET", f"/api/jobs/{job.id}")[0] == 200, "the first batch is stored, unheard")
    job.kill()
    proxy.line_of = lambda n: Line()
    flush(server, spool, proxy.url)
    lines = stored_lines(server, job.id)
    assert lines == [f"line {n}" for n in range(len(lines))]
    assert len(lines) - job.n_said in (0, 1)


@pytest.mark.slow
def test_a_killed_job_is_lost_after_its_silence_and_not_before_and_its_backlog_brings_it_back(
    make_server: Any, make_proxy: Any, spawn_job: Any, stored_events: Any, view: Any, tmp_path: Path
) -> None:
    server = make_server(config='[monitoring.job_tracking]\nlost_after = "5s"\n').start()
    proxy, spool = make_proxy(server), tmp_path / "spool"
    job = spawn_job(server, url=proxy.url, spool_dir=spool)
    quiet = spawn_job(server, url=proxy.url, spool_dir=tmp_path / "other")
    curl = new_id()
    server.report(started(curl))
    viewer = view(server, topics="jobs")
    job.say(20)
    proxy.refuse()
    proxy.cut()
    began = time.monotonic()
    assert job.stop() == 0  # it completed, but nobody heard of it
    quiet.kill()
    for one in (job, quiet):
        wait_until(lambda one=one: server.api("GET", f"/api/jobs/{one.id}")["status"] == "failed", "it counts as lost")
        assert server.api("GET", f"/api/jobs/{one.id}")["failure"]["kind"] == "lost"
    assert 5 <= time.monotonic() - began + 0.5 < 15
    assert server.api("GET", f"/api/jobs/{curl}")["status"] == "running"  # it never had anybody to fall silent
    proxy.refuse(on=False)
    flush(server, spool, proxy.url)
    assert server.api("GET", f"/api/jobs/{job.id}")["status"] == "completed"
    assert "job_recovered" in [event["kind"] for event in stored_events(server, job.id)]
    wait_until(lambda: viewer.of(job.id)[-1]["status"] == "completed", "viewers see it recovered")


@pytest.mark.slow
def test_a_wrapped_command_whose_wrapper_is_killed_is_lost_and_its_lines_are_kept(
    make_server: Any, stored_lines: Any
) -> None:
    server = make_server(config='[monitoring.job_tracking]\nlost_after = "5s"\n').start()
    script = 'for n in $(seq 1 20); do echo "line $n"; done; echo ready; exec cat'
    argv = [sys.executable, "-m", "etlmon", "run", "--name", "ledger_close", "--", "sh", "-c", script]
    wrapper = subprocess.Popen(argv, env=server.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert wrapper.stdout is not None
        while wrapper.stdout.readline() != b"ready\n":
            pass

        def reported() -> Any:
            (item,) = server.api("GET", "/api/jobs?name=ledger_close")["items"] or [None]
            return item and "ready" in stored_lines(server, item["id"]) and item["id"]

        job = wait_until(reported, "its lines are stored")
    finally:
        wrapper.kill()
        wrapper.communicate()
    wait_until(lambda: server.api("GET", f"/api/jobs/{job}")["status"] == "failed", "it counts as lost")
    shown = server.api("GET", f"/api/jobs/{job}")
    assert shown["failure"]["kind"] == "lost"
    assert stored_lines(server, job) == [f"line {n}" for n in range(1, 21)] + ["ready"]


def test_a_restarted_server_gives_agents_time_before_it_calls_them_lost(make_server: Any) -> None:
    server = make_server(config='[monitoring.job_tracking]\nlost_after = "5s"\n').start()
    job, producer = new_id(), new_id()
    server.report(started(job), producer=producer, seq=1)
    server.kill()
    server.start()
    uptime = server.api("GET", "/api/health")["uptimeMs"]
    assert (server.api("GET", f"/api/jobs/{job}")["status"], uptime < 5_000) == ("running", True)


def test_late_and_misplaced_reports_are_journaled_and_change_no_final_status(server: Any, stored_events: Any) -> None:
    job, producer = new_id(), new_id()
    server.report(started(job), {"kind": "completed", "jobId": job}, producer=producer, seq=1)
    late = [
        {"kind": "failed", "jobId": job, "failure": {"kind": "error", "message": "too late"}},
        {"kind": "progress", "jobId": job, "progressPercent": 3},
        log(job, "after the end"),
        {"kind": "paused", "jobId": job},
        started(job),
    ]
    receipt = server.report(*late, producer=producer, seq=2)
    assert receipt["rejected"] == []
    shown = server.api("GET", f"/api/jobs/{job}")
    assert (shown["status"], shown["failure"], shown["progressPercent"]) == ("completed", None, 100.0)
    kinds = [event["kind"] for event in stored_events(server, job)]
    assert kinds[:2] == ["job_started", "completed"]
    assert set(kinds[2:]) == {"late_report"}
    assert [line["message"] for line in server.api("GET", f"/api/jobs/{job}/logs")["items"]] == ["after the end"]


def test_batches_out_of_order_are_refused_with_the_place_to_go_on_from(server: Any) -> None:
    job, producer = new_id(), new_id()
    for seq in (1, 2, 3):
        server.report(log(job, str(seq)), producer=producer, seq=seq)
    for seq, reports in ((5, [log(job, "5")]), (9, []), (3, [log(job, "other")])):
        status, body, _ = server.raw("POST", "/api/reports", {"producer": producer, "seq": seq, "reports": reports})
        assert (status, b'"ack":3' in body.replace(b" ", b"")) == (409, True), seq
    for seq in (1, 2):  # long past: acknowledged again, whatever it holds
        assert server.report(log(job, "again"), producer=producer, seq=seq)["ack"] == 3
    assert [line["message"] for line in server.api("GET", f"/api/jobs/{job}/logs")["items"]] == ["1", "2", "3"]


def test_a_clock_of_the_agent_that_is_far_off_changes_no_order_and_invents_no_future(server: Any) -> None:
    job = new_id()
    for year in (1970, 2099, 2026, 1999):
        server.report(log(job, str(year), at=f"{year}-01-01T00:00:00Z"))
    lines = server.api("GET", f"/api/jobs/{job}/logs")["items"]
    assert [line["message"] for line in lines] == ["1970", "2099", "2026", "1999"]
    assert max(line["at"] for line in lines) < "2099"


def test_producers_of_a_cloned_machine_with_one_id_are_told_apart(server: Any) -> None:
    job, producer = uuid7(1, os.urandom(10)), new_id()
    assert server.report(log(job, "original 1"), producer=producer, seq=1)["ack"] == 1
    status, body, _ = server.raw(
        "POST", "/api/reports", {"producer": producer, "seq": 1, "reports": [log(job, "clone 1")]}
    )
    assert (status, b"new producer" in body) == (409, True)
    token = server.api("POST", "/api/tokens", {"role": "reporter", "name": "other"})["token"]
    status, _, _ = server.raw(
        "POST", "/api/reports", {"producer": producer, "seq": 2, "reports": [log(job, "thief")]}, token=token
    )
    assert status == 403


@pytest.mark.slow
def test_watching_a_job_tells_every_change_once_through_restarts_of_either_kind(server: Any) -> None:
    job = new_id()
    server.report(started(job), {"kind": "progress", "jobId": job, "progressPercent": 1})
    argv = [sys.executable, "-m", "etlmon", "jobs", "watch", job, "--json", "status,progressPercent", "-o", "jsonl"]
    watcher = subprocess.Popen(argv, env=server.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert watcher.stdout is not None
    told = [json.loads(watcher.stdout.readline())]
    wait_until(lambda: server.api("GET", "/api/monitor/connections")["items"], "the watcher is connected")
    for end, percent in ((server.kill, 20), (server.stop, 40), (server.kill, 60)):
        end()
        server.start()
        server.report({"kind": "progress", "jobId": job, "progressPercent": percent})
        while told[-1]["progressPercent"] != percent:
            told.append(json.loads(watcher.stdout.readline()))
    server.report({"kind": "completed", "jobId": job})
    told += [json.loads(line) for line in watcher.stdout]
    watcher.stdout.close()
    assert watcher.wait(DEADLINE_S) == 0
    assert [(each["status"], each["progressPercent"]) for each in told] == [
        ("running", 1.0), ("running", 20.0), ("running", 40.0), ("running", 60.0), ("completed", 100.0),
    ]  # fmt: skip
