"""What the server is told of a wrapped command, and how the wrapper takes its leave."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from etlmon.agent.telling import job_name


def test_the_story_of_a_job_that_went_well(wrapped, listener):
    options = ("--name", "orders_nightly", "--type", "load", "--owner", "ana", "--tag", "env=prod", "--tag", "a=b=c")
    wrapped.run("sh", "-c", "echo one; echo two", options=(*options, "--expect", "10m"))
    begun = listener.reports[0]
    assert begun | {"at": "", "jobId": ""} == {
        "kind": "job_started",
        "jobId": "",
        "at": "",
        "name": "orders_nightly",
        "type": "load",
        "owner": "ana",
        "tags": {"env": "prod", "a": "b=c"},
        "host": socket.gethostname(),
        "source": "run",
        "expectedDurationMs": 600_000,
        "command": ["sh", "-c", "echo one; echo two"],
    }
    assert [(log["message"], log.get("level", "info"), log["logger"]) for log in listener.of("log")] == [
        ("one", "info", "stdout"),
        ("two", "info", "stdout"),
    ]
    assert listener.reports[-1] == listener.final
    assert listener.final["kind"] == "completed"
    assert listener.final["summary"] | {"durationMs": 0} == {
        "durationMs": 0,
        "exitCode": 0,
        "outputLines": 2,
        "outputBytes": 8,
    }


def test_the_story_of_a_job_that_failed(wrapped, listener):
    program = (
        "import sys\nfor n in range(30): print('line', n, file=sys.stderr)\nprint('out')\nraise ValueError('bad row')"
    )
    assert wrapped.run(sys.executable, wrapped.script("orders_load.py", program)).returncode == 1
    assert listener.reports[0]["name"] == "orders_load"
    failure = listener.final["failure"]
    assert failure["kind"] == "error"
    assert failure["exitCode"] == 1
    assert failure["message"] == "exit code 1: ValueError: bad row"
    assert failure["errorType"] == "ValueError"
    assert len(failure["stderrTail"]) == 20
    assert failure["stderrTail"][-1] == "ValueError: bad row"
    assert failure["traceback"].startswith("Traceback (most recent call last):\n")
    assert [log.get("level") for log in listener.of("log") if log["message"].startswith("ValueError")] == ["error"]


def test_a_job_inside_a_job_names_its_parent(wrapped, listener):
    wrapped.run(*wrapped.command("true"))
    outer, inner = listener.of("job_started")
    assert "parentId" not in outer
    assert inner["parentId"] == outer["jobId"]


def test_progress_is_read_from_what_the_command_prints(wrapped, listener):
    program = (
        "import sys\nfrom tqdm import tqdm\nfor _ in tqdm(range(40), desc='load', mininterval=0): sys.stdin.read(1)\n"
    )
    process = wrapped.start(sys.executable, "-c", program, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"x" * 10)
    process.stdin.flush()
    seen = listener.wait("progress", lambda report: report["recordsProcessed"] == 10)
    assert (seen["progressPercent"], seen["recordsTotal"], seen["currentStep"]) == (25.0, 40, "load")
    process.stdin.write(b"x" * 30)
    process.stdin.close()
    assert process.wait(20) == 0
    assert listener.of("progress")[-1]["progressPercent"] == 100.0
    assert [log["message"][:10] for log in listener.of("log")] == ["load: 100%"]


def test_the_tree_is_sampled(wrapped, listener):
    burn = "import sys; block = b'x' * 50_000_000; print('up', flush=True)\nwhile True: pass"
    process = wrapped.start("sh", "-c", '"$@"; true', "-", sys.executable, "-c", burn)
    found = listener.wait("metrics", lambda report: report["metrics"].get("cpuUsage", 0) > 10)
    assert found["metrics"]["memoryUsage"] > 50_000_000
    process.terminate()
    process.wait(20)
    assert listener.final["summary"]["peakMemory"] > 50_000_000


def test_a_prompt_without_a_newline_becomes_a_line_when_it_is_quiet(wrapped, listener):
    process = wrapped.start("sh", "-c", "printf 'Password: '; read x; echo $x", stdin=subprocess.PIPE)
    listener.wait("log", lambda log: log["message"] == "Password: ")
    assert process.communicate(b"secret\n", timeout=20)[0] == b"Password: secret\n"
    assert listener.lines() == ["Password: ", "secret"]


def test_a_grandchild_that_holds_the_pipe_is_not_waited_for(wrapped, listener):
    process = wrapped.start("sh", "-c", "sleep 60 & echo $!; echo done")
    out, _ = process.communicate(timeout=20)
    pid, done = out.split()
    os.kill(int(pid), signal.SIGKILL)
    assert (process.returncode, done) == (0, b"done")
    assert listener.lines() == [pid.decode(), "done"]
    assert listener.final["kind"] == "completed"


def test_a_grandchild_goes_on_writing_to_a_file_when_we_are_gone(wrapped, wait):
    target = wrapped.cwd / "log"
    script = "(while [ ! -e go ]; do sleep 0.02; done; echo later) & echo now"
    with target.open("wb") as file:
        wrapped.run("sh", "-c", script, stdout=file)
    assert target.read_text() == "now\n"
    (wrapped.cwd / "go").touch()
    wait(lambda: target.read_text() == "now\nlater\n", "what the grandchild wrote")


def test_everything_is_delivered_however_slow_the_reader_is_when_the_command_has_ended(wrapped, listener):
    process = wrapped.start("sh", "-c", "sleep 60 & head -c 100000 /dev/zero; exec 3>&-; echo $! >&2")
    pid = int(process.stderr.readline())
    listener.wait("log", lambda log: log["message"] == str(pid))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    assert process.stdout is not None
    assert process.stdout.read() == bytes(100_000)
    assert process.wait(20) == 0
    os.kill(pid, signal.SIGKILL)


def test_with_the_server_away_the_command_is_untouched_and_its_reports_wait(wrapped, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        env = wrapped.env | {"ETLMON_URL": f"http://127.0.0.1:{free.getsockname()[1]}"}
        through = wrapped.run("sh", "-c", "echo out; echo err >&2; exit 4", env=env)
    assert (through.returncode, through.stdout, through.stderr) == (4, b"out\n", b"err\n")
    assert b"job_started" in b"".join(path.read_bytes() for path in (tmp_path / "etlmon").rglob("*.seg"))


def test_a_server_that_never_answers_does_not_hold_us(wrapped):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        env = wrapped.env | {"ETLMON_URL": f"http://127.0.0.1:{mute.getsockname()[1]}"}
        through = wrapped.run("echo", "out", env=env)
    assert (through.returncode, through.stdout, through.stderr) == (0, b"out\n", b"")


@pytest.mark.parametrize(
    "change",
    [
        {"ETLMON_URL": "nonsense"},
        {"ETLMON_DATA_DIR": "/proc/nowhere"},
        {"ETLMON_PROFILE": "not there"},
        {"ETLMON_TOKEN": "\udcff\n"},
        {"ETLMON_JOB_ID": "../../etc/passwd"},
    ],
)
def test_a_setting_that_makes_no_sense_does_not_touch_the_command(wrapped, change):
    through = wrapped.run("sh", "-c", "echo out; exit 3", env=wrapped.env | change)
    assert (through.returncode, through.stdout) == (3, b"out\n")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("/usr/bin/rsync", "-a"), "rsync"),
        (("./nightly.sh",), "nightly"),
        (("python3", "jobs/orders_load.py", "--day", "1"), "orders_load"),
        (("/usr/bin/python3.11", "-u", "orders.py"), "orders"),
        (("python", "-m", "dbt.cli", "run"), "dbt.cli"),
        (("python", "-c", "x.py"), "python"),
        (("bash", "etl.sh"), "etl"),
        (("sh", "-c", "echo a/b"), "sh"),
        (("\x1b[31mevil",), "\ufffd[31mevil"),
        (("",), "command"),
        (("/",), "command"),
    ],
)
def test_a_job_is_named_after_its_program_or_script(words, name):
    assert job_name(words) == name
