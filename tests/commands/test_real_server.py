"""The command line against a real server: live commands, restarts in the middle, and what scripts rely on."""

from __future__ import annotations

import json
import os
import pty
import queue
import signal
import socket
import subprocess
import sys
import threading

import pytest

from world import log, new_id, started, wait_until


class Program:
    """``etlmon ARGS`` running; its lines as they come."""

    def __init__(self, server, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etlmon", *args],
            env=server.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors = b""
        self.threads = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_err)]
        for thread in self.threads:
            thread.start()

    def _read_out(self):
        for line in self.process.stdout:
            self.lines.put(line.decode().rstrip("\n"))

    def _read_err(self):
        self.errors = self.process.stderr.read()

    def line(self) -> str:
        return self.lines.get(timeout=30)

    def until(self, text: str) -> list[str]:
        got = []
        while not got or text not in got[-1]:
            got.append(self.line())
        return got

    def end(self) -> int:
        code = self.process.wait(timeout=30)
        for thread in self.threads:
            thread.join(timeout=30)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.end()


@pytest.fixture
def program(server):
    running = []

    def start(*args):
        running.append(Program(server, *args))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
            each.end()


def test_a_followed_log_loses_and_doubles_no_line_through_restarts(server, program):
    job = new_id()
    server.report(started(job), *[log(job, f"line {n}") for n in range(10)])
    follower = program("jobs", "logs", job, "-f")
    everything = program("logs", "-f", "--name", "orders_nightly", "--all", "--json", "message")
    got = follower.until("line 9")
    seen = [everything.line() for _ in range(10)]
    n = 10
    for stop in (server.kill, server.stop, server.kill):
        stop()
        server.start()
        for _ in range(30):
            server.report(log(job, f"line {n}"), log(job, f"line {n + 1}"))
            n += 2
        got += follower.until(f"line {n - 1}")
    server.report(log(job, "the last"), {"kind": "completed", "jobId": job})
    got += follower.until("the last")
    assert follower.end() == 0
    assert got == [f"line {k}" for k in range(n)] + ["the last"]
    seen += [everything.line() for _ in range(n - 10 + 1)]
    assert [json.loads(line)["message"] for line in seen] == got
    assert everything.interrupt() == 130


@pytest.fixture
def move(server):
    """Kills the server and starts it on another port; the old one refuses from then on."""
    held = []

    def to_another_port():
        server.kill()
        held.append(socket.socket())
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held[-1].bind(("127.0.0.1", server.port))
        before, server.port = server.port, 0
        server.start()
        assert server.port != before

    yield to_another_port
    for each in held:
        each.close()


def test_followers_find_a_server_that_comes_back_on_another_port_and_lose_nothing(server, program, move):
    job = new_id()
    server.report(started(job), {"kind": "progress", "jobId": job, "progressPercent": 10}, log(job, "line 0"))
    lines = program("jobs", "logs", job, "-f")
    watcher = program("jobs", "watch", job, "--exit-status", "--json", "status,progressPercent", "-o", "jsonl")
    waiter = program("jobs", "wait", job, "-o", "name")
    listed = program("jobs", "list", "--watch", "--json", "status", "-o", "jsonl")
    got = lines.until("line 0")
    assert json.loads(watcher.line()) == {"status": "running", "progressPercent": 10.0}
    assert json.loads(listed.line()) == {"status": "running"}
    connected(server, 3)
    n = 1
    for _ in range(2):
        move()
        for _ in range(20):
            server.report(log(job, f"line {n}"))
            n += 1
        got += lines.until(f"line {n - 1}")
    connected(server, 3)
    server.report({"kind": "completed", "jobId": job})
    assert lines.end() == 0
    assert got == [f"line {k}" for k in range(n)]
    assert json.loads(watcher.until("completed")[-1])["status"] == "completed"
    assert (watcher.end(), waiter.end()) == (0, 0)
    assert json.loads(listed.until("completed")[-1]) == {"status": "completed"}
    assert listed.interrupt() == 130
    notes = (lines.errors + watcher.errors).decode().splitlines()
    assert notes
    assert [
        note
        for note in notes
        if not note.startswith("etlmon: ") or not note.endswith((". Trying again.", "? Trying again."))
    ] == []
    assert "Cannot connect" not in str(notes)


def test_several_jobs_are_followed_together_each_line_with_its_name_until_all_ended(server, program):
    one, two = new_id(), new_id()
    server.report(started(one), started(two, "crm_sync"), log(one, "a"), log(two, "b"))
    follower = program("jobs", "logs", one, two, "-f", "--level", "info")
    assert [follower.line(), follower.line()] == ["orders_nightly\ta", "crm_sync\tb"]
    server.report(log(two, "quiet", "debug"), log(two, "c"), log(one, "d"))
    assert [follower.line(), follower.line()] == ["crm_sync\tc", "orders_nightly\td"]
    server.report({"kind": "completed", "jobId": one}, {"kind": "completed", "jobId": two})
    assert follower.end() == 0


def test_tail_then_live_joins_without_gap_or_double(server, program):
    job = new_id()
    server.report(started(job), *[log(job, str(n)) for n in range(50)])
    follower = program("jobs", "logs", job, "-f", "--tail", "5")
    got = follower.until("49")
    server.report(*[log(job, str(n)) for n in range(50, 60)], {"kind": "completed", "jobId": job})
    got += follower.until("59")
    assert follower.end() == 0
    assert got == [str(n) for n in range(45, 60)]


def test_a_tail_of_nothing_still_brings_all_that_comes(server, program):
    job = new_id()
    server.report(started(job))
    follower = program("jobs", "logs", job, "-f", "--tail", "1")
    wait_until(lambda: server.api("GET", "/api/system/health")["connections"]["follows"], "the follow is open")
    server.report(*[log(job, str(n)) for n in range(3)], {"kind": "completed", "jobId": job})
    assert follower.until("2") == ["0", "1", "2"]
    assert follower.end() == 0


def test_watch_tells_each_change_and_ends_with_the_job(server, program):
    job = new_id()
    server.report(started(job), {"kind": "progress", "jobId": job, "progressPercent": 10})
    watcher = program("jobs", "watch", job, "--exit-status", "--json", "status,progressPercent", "-o", "jsonl")
    assert json.loads(watcher.line()) == {"status": "running", "progressPercent": 10.0}
    connected(server)
    server.report({"kind": "progress", "jobId": job, "progressPercent": 60})
    assert json.loads(watcher.line()) == {"status": "running", "progressPercent": 60.0}
    server.kill()
    server.start()
    server.report({"kind": "failed", "jobId": job, "failure": {"message": "boom"}})
    assert json.loads(watcher.until("failed")[-1])["status"] == "failed"
    assert watcher.end() == 1


def test_in_a_pipe_a_watch_prints_a_row_when_status_step_or_whole_percent_changed(server, program):
    job = new_id()
    server.report(started(job), {"kind": "progress", "jobId": job, "progressPercent": 10})
    row, lines = (
        program("jobs", "watch", job),
        program("jobs", "watch", job, "-o", "jsonl", "--json", "progressPercent"),
    )
    listed = program("jobs", "list", "--watch")
    assert "\t10\t" in row.line().replace("%", "")
    assert json.loads(lines.line()) == {"progressPercent": 10.0}
    listed.line()
    connected(server, 3)
    for percent in (10.2, 10.4, 10.6):
        server.report({"kind": "progress", "jobId": job, "progressPercent": percent})
        assert json.loads(lines.line()) == {"progressPercent": percent}
    server.report({"kind": "step_started", "jobId": job, "step": "verify"})
    assert "verify" in row.line()
    assert "verify" in listed.line()
    server.report({"kind": "completed", "jobId": job})
    assert "completed" in row.line()
    assert (row.end(), lines.end()) == (0, 0)
    assert "completed" in listed.line()
    assert listed.interrupt() == 130
    assert row.lines.empty()


def test_an_unknown_job_is_told_with_the_command_that_lists_jobs(server):
    result = server.cli("jobs", "show", new_id())
    assert result.returncode == 5
    assert b"`etlmon jobs list`" in result.stderr


def test_a_role_that_does_not_suffice_is_named(server):
    made = server.cli("tokens", "create", "--role", "operator", "--name", "ops").stdout.decode().strip()
    result = server.cli("tokens", "list", env={"ETLMON_TOKEN": made})
    assert (result.returncode, result.stderr) == (
        4, b"etlmon: The role operator does not allow this: it needs admin.\n",
    )  # fmt: skip


def test_a_token_file_that_others_can_read_is_used_with_a_warning(server, tmp_path):
    file = tmp_path / "token"
    file.write_text(server.token)
    file.chmod(0o644)
    result = server.cli("jobs", "list", "--token-file", str(file))
    assert result.returncode == 0
    assert b"can be read by others (mode 0644): run chmod 600" in result.stderr


@pytest.mark.parametrize("sent", [rb"x\ud800", rb"x\u0000"])
def test_a_lone_surrogate_or_nul_in_the_fields_of_a_line_becomes_the_replacement_character(server, sent):
    job = new_id()
    server.report(started(job))
    body = b'{"reports": [{"kind": "log", "jobId": "%s", "message": "m", "fields": {"a": "%s"}}]}' % (
        job.encode(),
        sent,
    )
    assert server.api("POST", "/api/reports", body)["rejected"] == []
    assert server.api("GET", f"/api/jobs/{job}/logs")["items"][0]["fields"] == {"a": "x\ufffd"}


def connected(server, n=1):
    """So many viewers have a subscription that is live."""

    def live():
        connections = server.api("GET", "/api/monitor/connections")["items"]
        return n <= sum(any(sub["state"] == "live" for sub in each["subscriptions"]) for each in connections)

    wait_until(live, f"{n} subscriptions are live")


def test_wait_returns_when_the_last_job_ended_and_outlives_a_restart(server, program):
    one, two = new_id(), new_id()
    server.report(started(one), started(two))
    waiter = program("jobs", "wait", one, two, "-o", "name")
    connected(server)
    server.report({"kind": "completed", "jobId": one})
    server.stop()
    server.start()
    server.report({"kind": "completed", "jobId": two})
    assert waiter.end() == 0
    assert sorted([waiter.line(), waiter.line()]) == sorted([one, two])


def test_wait_is_1_when_a_job_ended_otherwise_and_124_when_time_is_up(server, program):
    one, two = new_id(), new_id()
    server.report(started(one), started(two))
    assert program("jobs", "wait", one, "--timeout", "1s").end() == 124
    waiter = program("jobs", "wait", one, two)
    connected(server)
    server.report({"kind": "failed", "jobId": one, "failure": {"message": "x"}}, {"kind": "completed", "jobId": two})
    assert waiter.end() == 1


def test_a_watched_list_in_a_pipe_tells_new_and_changed_jobs(server, program):
    one, two = new_id(), new_id()
    server.report(started(one))
    watcher = program("jobs", "list", "--watch", "--json", "id,status", "-o", "jsonl")
    assert json.loads(watcher.line()) == {"id": one, "status": "running"}
    connected(server)
    server.report(started(two))
    assert json.loads(watcher.line()) == {"id": two, "status": "running"}
    server.report({"kind": "completed", "jobId": one})
    assert json.loads(watcher.line()) == {"id": one, "status": "completed"}
    assert watcher.interrupt() == 130


def test_on_a_terminal_a_watched_list_is_redrawn_in_place(server):
    job = new_id()
    server.report(started(job))
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "etlmon", "jobs", "list", "--watch"],
        env=server.env
        | {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "120", "LINES": "20", "PYTHONIOENCODING": "utf-8"},
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    seen = bytearray()
    reader = threading.Thread(target=_drain, args=(main, seen))
    reader.start()
    wait_until(lambda: b"orders_nightly" in seen, "the job is shown")
    connected(server)
    server.report({"kind": "completed", "jobId": job})
    wait_until(lambda: "✓ completed".encode() in seen, "its end is shown")
    assert b"\x1b[2A\r\x1b[J" in seen
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    reader.join(timeout=30)
    os.close(main)


def _drain(fd, seen):
    try:
        while chunk := os.read(fd, 65536):
            seen += chunk
    except OSError:  # Linux says EIO when the last writer of a pty is gone
        return


def test_pause_and_cancel_print_how_the_job_stands(server):
    job = new_id()
    producer = new_id()
    server.report(started(job), producer=producer, seq=1)
    paused = server.cli("jobs", "pause", job, "--reason", "disk", "--json", "status,controlPending.action")
    assert json.loads(paused.stdout) == [{"status": "running", "controlPending.action": "pause"}]
    cancelled = server.cli("jobs", "cancel", job[-12:], "-o", "name")
    assert (cancelled.returncode, cancelled.stdout.decode()) == (0, f"{job}\n")
    server.report({"kind": "completed", "jobId": job}, producer=producer, seq=2)
    late = server.cli("jobs", "cancel", job)
    assert late.returncode == 6
    assert late.stderr.startswith(b"etlmon: ")


def test_control_with_wait_returns_when_the_agent_has_obeyed(server, program):
    job, producer = new_id(), new_id()
    server.report(started(job), producer=producer, seq=1)
    control = program("jobs", "pause", job, "--wait", "--json", "status")
    commands = wait_until(
        lambda: server.api("GET", f"/api/commands?producer={producer}&wait=5s")["items"], "the command arrives"
    )
    connected(server)
    server.report({"kind": "paused", "jobId": job, "commandId": commands[0]["id"]}, producer=producer, seq=2)
    assert control.end() == 0
    assert json.loads("".join(control.line() for _ in range(5))) == [{"status": "paused"}]


def test_each_command_that_reads_ends_well(server):
    job = new_id()
    server.report(started(job, tags={"env": "prod"}), log(job, "hello"), {"kind": "completed", "jobId": job})
    for words in (
        ("jobs", "list", "-q", "tag.env:prod"),
        ("jobs", "show", job[:9]),
        ("jobs", "events", job),
        ("jobs", "metrics", job),
        ("jobs", "logs", job, "--contains", "ell"),
        ("logs", "-q", "hello"),
        ("history", "list", "--since", "1h"),
        ("history", "export"),
        ("connections",),
        ("tokens", "list"),
        ("audit",),
        ("health",),
        ("health", "--system"),
    ):
        for form in ("table", "json", "yaml"):
            result = server.cli(*words, "-o", form)
            assert (result.returncode, result.stderr) == (0, b""), (words, result)


def test_tokens_are_made_used_and_revoked(server):
    made = server.cli("tokens", "create", "--role", "viewer", "--name", "wall", "--expires", "30d")
    token = made.stdout.decode().strip()
    env = {"ETLMON_TOKEN": token}
    assert server.cli("jobs", "list", env=env).returncode == 0
    assert server.cli("tokens", "list", env=env).returncode == 4
    token_id = next(
        row["id"] for row in json.loads(server.cli("tokens", "list", "-o", "json").stdout) if row["name"] == "wall"
    )
    assert server.cli("tokens", "revoke", token_id).returncode == 0
    assert server.cli("jobs", "list", env=env).returncode == 4


def test_the_doctor_finds_nothing_wrong_and_then_each_thing_that_is(server, tmp_path):
    healthy = json.loads(server.cli("doctor", "-o", "json").stdout)
    assert [row["state"] for row in healthy] == ["ok"] * len(healthy)
    spool = server.data_dir / "spool"
    spool.mkdir(exist_ok=True)
    (spool / f"{new_id()}.mark").write_bytes(b"x" * 4096)
    (server.data_dir / "config.toml").write_text("[server]\nprot = 1\n")
    os.chmod(server.data_dir, 0o755)
    ill = {row["check"]: row for row in json.loads(server.cli("doctor", "-o", "json").stdout)}
    assert ill["spools"]["state"] == "warn"
    assert "1 spools" in ill["spools"]["detail"]
    assert ill["config"]["state"] == "fail"
    assert "prot" in ill["config"]["detail"]
    assert ill["data directory"]["state"] == "warn"
    assert server.cli("doctor").returncode == 1
    server.stop()
    away = server.cli("doctor")
    assert away.returncode == 1
    assert b"fail\tserver\t" in away.stdout


def test_a_viewer_gets_the_list_in_one_process_without_loading_what_it_does_not_need(server):
    program = (
        "import sys; from etlmon.cli import main; main(['jobs', 'list']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=server.env, capture_output=True, timeout=60, check=True
    )
    loaded = set(result.stderr.decode().split())
    assert (
        loaded & {"aiohttp", "asyncio", "rich", "textual", "sqlite3", "yaml", "psutil", "tomlkit", "platformdirs"}
        == set()
    )


def test_help_imports_no_command():
    program = "import sys; from etlmon.cli import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
    loaded = {name for name in result.stderr.decode().split() if name.startswith("etlmon.")}
    assert loaded <= {"etlmon.cli", "etlmon.commands", "etlmon.commands.context", "etlmon.commands.lazy"}
    assert "msgspec" not in result.stderr.decode().split()


def test_completion_scripts_name_the_program_and_ids_are_completed(server):
    for shell in ("bash", "zsh", "fish"):
        assert b"_ETLMON_COMPLETE" in server.cli("completion", shell).stdout
    job = new_id()
    server.report(started(job))
    env = {"_ETLMON_COMPLETE": "bash_complete", "COMP_WORDS": "etlmon jobs show ", "COMP_CWORD": "3"}
    assert job in server.cli(env=env).stdout.decode()
    env["COMP_WORDS"], env["COMP_CWORD"] = "etlmon jobs wa", "2"
    assert server.cli(env=env).stdout.decode().split() == ["plain,watch", "plain,wait"]
