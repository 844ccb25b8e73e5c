"""A disk that is really full, under the server's data (F7) and under an agent's spool (F8, S61)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from world import log, new_id, started, wait_until

CONFIG = '[store]\nballast = "4MiB"\n'


@pytest.fixture
def disk(make_disk: Any) -> Any:
    return make_disk("24m")


@pytest.fixture
def cramped(make_server: Any, disk: Any) -> Any:
    """A server whose whole data directory lies on a small disk."""
    data = disk.path / "data"
    data.mkdir(mode=0o700)
    return make_server(data, config=CONFIG).start()


def health(server: Any) -> Any:
    status, body, _ = server.raw("GET", "/api/health", token="")
    assert status == 200
    return json.loads(body)


def deliver(server: Any, spool_dir: Any) -> None:
    """What dead programs left behind is brought to the server by an heir."""
    argv = [sys.executable, "-m", "etlmon.sdk.flush", str(spool_dir)]
    env = server.env | {"ETLMON_URL": server.url, "ETLMON_TOKEN": server.token}
    subprocess.run(argv, env=env, check=True, timeout=60)


def fill_until_degraded(server: Any, disk: Any, job: str) -> None:
    """Fill the disk and report until the store says that it cannot commit."""
    disk.fill()

    def is_degraded() -> bool:
        disk.fill()
        server.raw("POST", "/api/reports", {"reports": [log(job, "x" * 4000)] * 20})
        return health(server)["status"] == "degraded"

    wait_until(is_degraded, "health says degraded")


def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_stored_and_reading_goes_on(
    cramped: Any, disk: Any, stored_lines: Any
) -> None:
    job, producer = new_id(), new_id()
    cramped.report(started(job), producer=producer, seq=1)
    disk.fill()
    seq, refusals = 2, 0
    while refusals < 3:
        body = {"reports": [log(job, f"{seq} {'x' * 3000}")] * 30, "producer": producer, "seq": seq}
        status, answer, headers = cramped.raw("POST", "/api/reports", body)
        if status == 503:
            refusals += 1
            assert 0 < float(headers["Retry-After"]) <= 60
            assert "full" in json.loads(answer)["detail"]
        else:
            assert status == 200
            seq += 1
            disk.fill()
    assert health(cramped)["status"] == "degraded"
    assert cramped.api("GET", f"/api/jobs/{job}")["status"] == "running"
    said = [line.split()[0] for line in stored_lines(cramped, job)]
    assert said == [str(n) for n in range(2, seq) for _ in range(30)]

    disk.free()
    wait_until(lambda: health(cramped)["status"] == "ok", "health is ok again, without a restart")
    assert cramped.report(*body["reports"], producer=producer, seq=seq)["accepted"] == 30
    assert len(stored_lines(cramped, job)) == 30 * (seq - 1)


def test_on_a_full_disk_cancel_and_state_reports_go_on_in_the_reserve(cramped: Any, disk: Any) -> None:
    nobodys, watched, producer = new_id(), new_id(), new_id()
    cramped.report(started(nobodys))
    cramped.report(started(watched), producer=producer, seq=1)
    fill_until_degraded(cramped, disk, nobodys)
    assert cramped.api("POST", f"/api/jobs/{nobodys}/cancel", {"reason": "disk"})["status"] == "cancelled"
    assert (
        cramped.api("POST", f"/api/jobs/{watched}/cancel", {"reason": "disk"})["controlPending"]["action"] == "cancel"
    )
    (command,) = cramped.api("GET", f"/api/commands?producer={producer}&wait=5s")["items"]
    obeyed = {"kind": "cancelled", "jobId": watched, "commandId": command["id"]}
    assert cramped.report(obeyed, producer=producer, seq=2)["ack"] == 2
    cramped.kill()
    cramped.start()
    for job in (nobodys, watched):
        assert cramped.api("GET", f"/api/jobs/{job}")["status"] == "cancelled"


@pytest.mark.slow
def test_with_the_servers_disk_full_viewers_go_on_and_all_arrives_in_order_once_there_is_room(
    cramped: Any, disk: Any, spawn_job: Any, view: Any, stored_lines: Any, numbered: Any, tmp_path: Any
) -> None:
    job = spawn_job(cramped, spool_dir=tmp_path / "spool", url=cramped.url)
    job.say(50)
    viewer = view(cramped, topics="jobs,logs")
    fill_until_degraded(cramped, disk, job.id)
    seen = len(viewer.of(job.id))
    shown = wait_until(
        lambda: [d for d in viewer.of(job.id)[seen:] if d.get("durable") is False], "the viewer sees undurable states"
    )
    first = shown[-1]["metrics"]["recordsProcessed"]
    wait_until(
        lambda: viewer.of(job.id)[-1]["metrics"].get("recordsProcessed", 0) > first, "and they move on", deadline_s=30
    )
    assert shown[-1]["name"] == "orders_nightly"
    job.say(200)
    cramped.api("POST", f"/api/jobs/{job.id}/cancel", {"reason": "enough"})
    assert job.end() == 3  # it heard of it and obeyed, with the disk still full

    disk.free()
    wait_until(lambda: health(cramped)["status"] == "ok", "the store commits again")
    flushed = job.n_said

    def is_ended() -> bool:
        return bool(cramped.api("GET", f"/api/jobs/{job.id}")["status"] == "cancelled")

    deliver(cramped, tmp_path / "spool")
    wait_until(is_ended, "the job's end has arrived")
    lines = [line for line in stored_lines(cramped, job.id) if line.startswith("line ")]
    assert lines == numbered(len(lines))
    assert len(lines) - flushed in (0, 1)
    wait_until(lambda: viewer.of(job.id)[-1]["status"] == "cancelled", "the viewer sees the end")
    assert viewer.resets == []
    told = [line for line in viewer.lines(job.id) if line.startswith("line ")]
    assert told == lines[-len(told) :]


@pytest.mark.slow
def test_a_living_job_needs_no_help_when_the_servers_disk_has_room_again(
    cramped: Any, disk: Any, spawn_job: Any, stored_lines: Any, numbered: Any, tmp_path: Any
) -> None:
    job = spawn_job(cramped, spool_dir=tmp_path / "spool", url=cramped.url)
    job.say(20)
    fill_until_degraded(cramped, disk, job.id)
    job.say(100)
    said = job.n_said
    disk.free()
    wait_until(lambda: f"line {said}" in stored_lines(cramped, job.id), "what was held back has arrived")
    assert job.stop() == 0
    assert cramped.api("GET", f"/api/jobs/{job.id}")["status"] == "completed"
    lines = [line for line in stored_lines(cramped, job.id) if line.startswith("line ")]
    assert lines == numbered(job.n_said)


def test_a_server_restarted_on_a_full_disk_serves_what_it_has(cramped: Any, disk: Any) -> None:
    job = new_id()
    cramped.report(started(job), log(job, "kept"))
    fill_until_degraded(cramped, disk, job)
    cramped.kill()
    (cramped.data_dir / "server.json").unlink(missing_ok=True)
    cramped.start()
    assert cramped.api("GET", f"/api/jobs/{job}/logs")["items"][0]["message"] == "kept"
    disk.free()
    wait_until(lambda: health(cramped)["status"] == "ok", "health is ok")
    assert cramped.report(log(job, "after"))["accepted"] == 1


def test_a_full_disk_under_the_spool_drops_log_lines_counts_them_and_keeps_every_state(
    server: Any, make_disk: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, stored_events: Any
) -> None:
    disk, proxy = make_disk("1m"), make_proxy(server)
    spool = disk.path / "spool"
    job = spawn_job(server, url=proxy.url, spool_dir=spool, pause_s=0)
    job.say(10)
    proxy.refuse()
    proxy.cut()
    disk.fill()
    began, before = time.monotonic(), job.n_said
    job.say(3000)
    assert time.monotonic() - began < 20, "a full spool does not slow the program"
    assert job.n_said >= before + 3000
    proxy.refuse(on=False)
    disk.free()
    job.say(500)
    assert job.stop() == 0
    assert job.errors.read_bytes() == b"", "the guest prints nothing: the gap tells the server"
    wait_until(lambda: server.api("GET", f"/api/jobs/{job.id}")["status"] == "completed", "the end has arrived")
    events = stored_events(server, job.id)
    steps = [event["detail"]["step"] for event in events if event["kind"] == "step_started"]
    assert steps == [f"step {n}" for n in range(0, job.n_said, 50)]
    numbers = [int(line.split()[1]) for line in stored_lines(server, job.id) if line.startswith("line ")]
    assert numbers == sorted(set(numbers))
    gaps = [event for event in events if event["kind"] == "gap"]
    assert sum(gap["detail"]["dropped"] for gap in gaps) == job.n_said - len(numbers) > 0


def test_a_wrapped_command_is_untouched_by_a_full_disk_under_its_spool(server: Any, make_disk: Any) -> None:
    disk = make_disk("256k")
    disk.fill()
    env = {"ETLMON_SPOOL_DIR": str(disk.path / "spool")}
    script = "seq 1 5000; exit 7"
    outcome = server.cli("run", "--name", "ledger_close", "--", "sh", "-c", script, env=env)
    assert (outcome.returncode, outcome.stdout) == (7, b"".join(b"%d\n" % n for n in range(1, 5001)))
    (job,) = server.api("GET", "/api/jobs?name=ledger_close")["items"]
    assert (job["status"], job["failure"]["exitCode"]) == ("failed", 7)
