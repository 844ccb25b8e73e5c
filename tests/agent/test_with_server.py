"""A wrapped command and a real server: reported, controlled, and delivered after the server was away."""

import os
import signal
import subprocess
import sys

from world import wait_until


def job_of(server, **expected):
    """The one job, once it is as expected."""

    def found():
        items = server.api("GET", "/api/jobs")["items"]
        if items and all(items[0][key] == value for key, value in expected.items()):
            return items[0]
        return None

    return wait_until(found, f"a job with {expected}")


def lines_of(server, job):
    return [entry["message"] for entry in server.api("GET", f"/api/jobs/{job['id']}/logs")["items"]]


def start(server, *words, **popen):
    argv = [sys.executable, "-m", "etlmon", "run", "--name", "orders_nightly", "--grace", "2s", "--", *words]
    return subprocess.Popen(argv, env=server.env, stdin=subprocess.DEVNULL, **popen)


def test_when_it_returns_the_server_has_everything(server):
    process = start(server, "sh", "-c", "echo one; echo 'error: two' >&2; echo three; exit 3")
    assert process.wait(20) == 3
    job = server.api("GET", "/api/jobs")["items"][0]
    assert (job["name"], job["status"], job["failure"]["exitCode"]) == ("orders_nightly", "failed", 3)
    assert job["failure"]["stderrTail"] == ["error: two"]
    assert sorted(lines_of(server, job)) == ["error: two", "one", "three"]


def test_an_operator_pauses_resumes_and_cancels_it(server):
    process = start(server, "sleep", "60")
    job = job_of(server, status="running")
    server.api("POST", f"/api/jobs/{job['id']}/pause", {"reason": "look"})
    job_of(server, status="paused", controlPending=None)
    server.api("POST", f"/api/jobs/{job['id']}/resume", {})
    job_of(server, status="running", controlPending=None)
    server.api("POST", f"/api/jobs/{job['id']}/cancel", {"reason": "wrong file"})
    assert process.wait(20) == -signal.SIGTERM
    ended = job_of(server, status="cancelled")
    assert ended["failure"] is None


def test_what_was_reported_while_the_server_was_away_arrives_once_it_is_back(server):
    os.mkfifo(server.data_dir / "go")
    process = start(server, "sh", "-c", "echo one; read x < go; echo two; exit 5", cwd=server.data_dir)
    job = job_of(server, status="running")
    server.kill()
    (server.data_dir / "go").write_text("go\n")
    assert process.wait(20) == 5
    server.start()
    ended = job_of(server, status="failed")
    assert ended["id"] == job["id"]
    assert lines_of(server, ended) == ["one", "two"]


def test_the_server_may_be_named_by_options(server, tmp_path):
    token = tmp_path / "token"
    token.write_text(server.token)
    env = server.env | {"ETLMON_DATA_DIR": str(tmp_path / "elsewhere")}
    argv = [sys.executable, "-m", "etlmon", "run", "--url", server.url, "--token-file", str(token), "--", "true"]
    assert subprocess.run(argv, env=env, timeout=20, check=False).returncode == 0
    assert job_of(server, status="completed")["name"] == "true"
