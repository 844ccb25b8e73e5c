"""Text that would drive a terminal, from every place a stranger can write to: no command shows it raw (L76, I58)."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from world import ServerProcess, log, new_id, wait_until

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
OWN = re.compile(r"\x1b\[(?:[0-9;]*m|2K|K|J|H|\?25[lh]|[0-9]*A|\?2026[hl])|\r+(?=\n|\x1b)")
"""Our own colours and cursor moves, and the line ends of a terminal."""
HOSTILE = (
    "a\x1b]52;c;ZXZpbA==\x07b\x1bc\x1b[2J\x1b[31m\x9b31m\x9d0;t\x9c\x1bP1;2q\x1b\\c\x00\x7f\r\nforged: line\x0b\x0c\x08"
    "d\u202egpj.exe\u2066x\u2069\u200b\ufeff\u2028\u2029\u0085e[/foo][link=http://x]%s{0}"
)
TITLE = "\x1b]0;owned\x07"

LISTS = [
    ("jobs", "list"),
    ("jobs", "list", "-q", "status:failed"),
    ("jobs", "show", "JOB"),
    ("jobs", "events", "JOB"),
    ("jobs", "metrics", "JOB"),
    ("jobs", "logs", "JOB", "--timestamps"),
    ("jobs", "wait", "JOB"),
    ("jobs", "watch", "JOB"),
    ("logs",),
    ("logs", "--name", HOSTILE.replace("\x00", "")),
    ("history", "list"),
    ("history", "errors"),
    ("history", "stats"),
    ("history", "export"),
    ("tokens", "list"),
    ("connections",),
    ("audit",),
    ("health",),
    ("doctor",),
    ("jobs", "cancel", "JOB"),
    ("jobs", "show", HOSTILE.replace("\x00", "")),
    ("jobs", "list", "-q", HOSTILE.replace("\x00", "")),
]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server into which a hostile reporter wrote whatever it could."""
    server = ServerProcess(tmp_path_factory.mktemp("evil")).start()
    try:
        server.job = new_id()  # type: ignore[attr-defined]
        write_hostile(server, server.job)  # type: ignore[attr-defined]
        yield server
        assert server.stop() == 0
    finally:
        server.kill()
    assert "Traceback" not in server.log()
    assert RAW.findall(server.log()) == []


def write_hostile(server: Any, job: str) -> None:
    producer = new_id()
    failure = {
        "kind": "error", "message": HOSTILE, "errorType": HOSTILE, "step": HOSTILE, "stderrTail": [HOSTILE, TITLE],
        "traceback": HOSTILE,
    }  # fmt: skip
    receipt = server.report(
        {"kind": "job_started", "jobId": job, "name": HOSTILE, "type": HOSTILE, "owner": HOSTILE, "source": HOSTILE,
         "host": HOSTILE, "tags": {HOSTILE: HOSTILE}, "steps": [HOSTILE, TITLE], "config": {HOSTILE: [HOSTILE]}},
        {"kind": "step_started", "jobId": job, "step": HOSTILE},
        {"kind": "metrics", "jobId": job, "metrics": {HOSTILE: 1, "note": HOSTILE}},
        log(job, HOSTILE, "error", logger=HOSTILE, step=HOSTILE, fields={HOSTILE: HOSTILE}),
        log(job, TITLE),
        log(job, "\ud800 lone"),
        producer=producer, seq=1,
    )  # fmt: skip
    assert [refusal for refusal in receipt["rejected"] if refusal["index"] not in (0, 2)] == [], receipt
    server.raw("POST", f"/api/jobs/{job}/cancel", {"reason": HOSTILE})
    server.report({"kind": "failed", "jobId": job, "failure": failure}, producer=producer, seq=2)
    token = server.api("POST", "/api/tokens", {"role": "operator", "name": HOSTILE, "owner": HOSTILE})["token"]
    server.raw("POST", f"/api/jobs/{job}/cancel", {"reason": HOSTILE}, token=token)
    server.raw("GET", "/api/jobs/%1b%5b2J%0d%0a%c2%9b")
    server.raw("GET", "/%1b%5b2J", token="", headers={"User-Agent": TITLE.replace("\x07", "").replace("\x1b", "x")})


def in_pipe(server: Any, words: tuple[str, ...]) -> tuple[int, str]:
    outcome = server.cli(*words)
    return outcome.returncode, (outcome.stdout + outcome.stderr).decode()


def in_terminal(server: Any, words: tuple[str, ...], *, interrupt: bool = False, until: str = "") -> tuple[int, str]:
    """What reaches a real terminal, byte for byte."""
    ours, theirs = pty.openpty()
    env = server.env | {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50"}
    argv = [sys.executable, "-m", "etlmon", *words]
    process = subprocess.Popen(argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown, end = b"", time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            shown += data
            if interrupt and until in shown.decode(errors="replace"):
                process.send_signal(signal.SIGINT)
                interrupt = False
        code = process.wait(10)
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()
    return code, shown.decode()


def filled(words: tuple[str, ...], job: str) -> tuple[str, ...]:
    return tuple(job if word == "JOB" else word for word in words)


def check_clean(words: tuple[str, ...], code: int, shown: str) -> None:
    assert code in (0, 1, 2, 5, 6), (words, code, shown)
    assert "Traceback" not in shown
    assert "fault of etlmon itself" not in shown
    assert RAW.findall(OWN.sub("", shown)) == [], words
    for line in shown.splitlines():
        assert not line.startswith("forged: line"), words


@pytest.mark.parametrize("words", [LISTS[0], LISTS[2], LISTS[5]], ids=lambda words: " ".join(words[:2]))
def test_on_a_terminal_nothing_that_a_job_says_is_raw(evil: Any, words: tuple[str, ...]) -> None:
    check_clean(words, *in_terminal(evil, filled(words, evil.job)))


@pytest.mark.slow
@pytest.mark.parametrize("words", LISTS, ids=lambda words: " ".join(word for word in words if word.isascii())[:30])
def test_no_command_shows_anything_raw_on_a_terminal_or_in_a_pipe(evil: Any, words: tuple[str, ...]) -> None:
    words = filled(words, evil.job)
    for form in ((), ("-o", "json")):
        check_clean(words, *in_terminal(evil, (*words, *form)))
    for form in (("-o", "wide"), ("-o", "yaml")):
        check_clean(words, *in_pipe(evil, (*words, *form)))


def test_live_commands_show_nothing_raw_on_a_terminal(evil: Any) -> None:
    job = new_id()
    evil.report({"kind": "job_started", "jobId": job, "name": HOSTILE}, log(job, HOSTILE), log(job, "the last one"))
    words = ("jobs", "logs", job, "-f")
    code, shown = in_terminal(evil, words, interrupt=True, until="the last one")
    assert code == 130
    check_clean(words, 0, shown)
    words = ("jobs", "list", "--watch")
    code, shown = in_terminal(evil, words, interrupt=True, until="running")
    assert code == 130
    check_clean(words, 0, shown)
    write_hostile(evil, job)
    words = ("jobs", "watch", job)
    check_clean(words, *in_terminal(evil, words))


def test_what_a_wrapped_command_prints_is_passed_on_raw_and_shown_safely_afterwards(evil: Any) -> None:
    script = (
        "import os; os.write(1, bytes(range(256)) + b'\\n' + b'\\xff\\xfe' * 100 + b'\\r50%\\r60%\\n' + b'x' * 2000000)"
    )
    outcome = evil.cli("run", "--name", "noise", "--", sys.executable, "-c", script)
    assert outcome.returncode == 0
    assert outcome.stdout.startswith(bytes(range(256)))
    assert outcome.stdout.endswith(b"x" * 1000)
    (item,) = evil.api("GET", "/api/jobs?name=noise")["items"]
    wait_until(lambda: evil.api("GET", f"/api/jobs/{item['id']}")["status"] == "completed", "it ended")
    words = ("jobs", "logs", item["id"])
    check_clean(words, *in_terminal(evil, words))
    code, shown = in_pipe(evil, words)
    check_clean(words, code, shown)
    assert "[cut" in shown


def test_a_long_log_into_head_ends_quietly(evil: Any) -> None:
    job = new_id()
    evil.report(*[log(job, f"{n} {'x' * 500}") for n in range(1000)])
    argv = f"{sys.executable} -m etlmon jobs logs {job} | head -n 2"
    outcome = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {argv}"], env=evil.env, capture_output=True, timeout=60, check=False
    )
    assert outcome.returncode in (0, 141)
    assert outcome.stderr == b""
    assert len(outcome.stdout.splitlines()) == 2
