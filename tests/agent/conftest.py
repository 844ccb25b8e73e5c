"""A real ``etlmon run`` in a process of its own, and a small server that takes its reports and gives it commands."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

DEADLINE_S = 20.0
ETLMON = (sys.executable, "-m", "etlmon")


def wait_for(fact: Callable[[], Any], what: str = "the fact") -> Any:
    """The first true answer of ``fact``; fails after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = fact()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true")


class Listener:
    """Acknowledges every batch and keeps what it says; hands out commands until a report names them."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.moved = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body go out in two writes

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with listener.moved:
                    listener.reports += body["reports"]
                    listener.moved.notify_all()
                n = len(body["reports"])
                self._answer({"ack": body["seq"], "accepted": n, "duplicates": 0, "rejected": [], "commands": []})

            def do_GET(self) -> None:
                with listener.moved:
                    listener.moved.wait_for(lambda: bool(listener._open()), timeout=2)
                    items = listener._open()
                self._answer({"items": items})

            def _answer(self, content: dict[str, Any]) -> None:
                raw = json.dumps(content).encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _open(self) -> list[dict[str, Any]]:
        named = {report.get("commandId") for report in self.reports}
        return [command for command in self.commands if command["id"] not in named]

    def ask(self, action: str, reason: str | None = None) -> str:
        """Give a command to the one job that reports here; its id."""
        job_id = self.job_id
        with self.moved:
            command_id = f"command-{len(self.commands)}"
            self.commands.append(
                {"id": command_id, "jobId": job_id, "action": action, "reason": reason, "by": "operator"}
            )
            self.moved.notify_all()
        return command_id

    @property
    def job_id(self) -> str:
        return str(self.wait("job_started")["jobId"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        with self.moved:
            return [report for report in self.reports if report["kind"] == kind]

    def wait(self, kind: str, fact: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The first report of ``kind`` for which ``fact`` holds."""
        return wait_for(lambda: next(filter(fact, self.of(kind)), None), f"a {kind} report")

    def lines(self, logger: str | None = "any") -> list[str]:
        return [log["message"] for log in self.of("log") if logger == "any" or log.get("logger") == logger]

    @property
    def final(self) -> dict[str, Any]:
        found = [report for report in self.reports if report["kind"] in ("completed", "failed", "cancelled")]
        assert len(found) == 1, f"not one final report: {found}"
        return found[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.close()


class Wrapped:
    """How to start ``etlmon run`` here; whatever is started is gone when the test ends."""

    def __init__(self, env: dict[str, str], cwd: Path) -> None:
        self.env = env
        self.cwd = cwd
        self._started: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        return [*ETLMON, "run", *options, "--", *words]

    def start(self, *words: str, options: tuple[str, ...] = (), **popen: Any) -> subprocess.Popen[bytes]:
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        popen.setdefault("env", self.env)
        process = subprocess.Popen(self.command(*words, options=options), cwd=self.cwd, **popen)
        self._started.append(process)
        return process

    def run(
        self, *words: str, options: tuple[str, ...] = (), input: bytes | None = None, **popen: Any
    ) -> subprocess.CompletedProcess[bytes]:
        if input is not None:
            popen["stdin"] = subprocess.PIPE
        process = self.start(*words, options=options, **popen)
        out, err = process.communicate(input, timeout=DEADLINE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def bare(self, *words: str, input: bytes | None = None, **popen: Any) -> subprocess.CompletedProcess[bytes]:
        """The same without etlmon."""
        popen.setdefault("env", self.env)
        if input is None:
            popen.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(["env", *words], cwd=self.cwd, input=input, capture_output=True, timeout=20, **popen)

    def script(self, name: str, text: str) -> str:
        """A Python script; the words that run it are ``python(path)``."""
        path = self.cwd / name
        path.write_text(text)
        return str(path)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def environment(url: str, data_dir: Path) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ETLMON_")}
    return env | {"ETLMON_URL": url, "ETLMON_TOKEN": "token", "ETLMON_DATA_DIR": str(data_dir)}


@pytest.fixture
def wrapped(listener: Listener, tmp_path: Path) -> Iterator[Wrapped]:
    (tmp_path / "work").mkdir()
    one = Wrapped(environment(listener.url, tmp_path / "etlmon"), tmp_path / "work")
    yield one
    one.close()
    _end_flushers(str(tmp_path))


def _end_flushers(spool: str) -> None:
    """What was left behind for a server that will never come."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "etlmon.sdk.flush" in words and words[-1].startswith(spool):
            with contextlib.suppress(psutil.Error):
                process.kill()


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a process has ended; nobody may have asked for its status yet."""

    def ended(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return ended


@pytest.fixture
def wait() -> Callable[..., Any]:
    return wait_for


class Screen:
    """A terminal with a session of its own; what runs in it is its leader."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path, size: tuple[int, int] = (24, 80)) -> None:
        self.text = b""
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            termios.tcsetwinsize(0, size)
            os.execvpe(argv[0], argv, env)

    def read_until(self, *marks: bytes) -> bytes:
        """All that was shown, once it holds the marks in this order."""
        end = time.monotonic() + DEADLINE_S
        while not _in_order(self.text, marks):
            assert time.monotonic() < end, f"{marks!r} not in {self.text[-2000:]!r}"
            if not self._read(0.05) and self.status is not None:
                assert _in_order(self.text, marks), f"{marks!r} not in {self.text[-2000:]!r}"
        return self.text

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select((self.fd,), (), (), timeout_s)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        if not data:
            self.wait_end()
            return False
        self.text += data
        return True

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.fd, (rows, columns))

    def wait_end(self) -> int:
        """The exit status as a shell gives it."""
        end = time.monotonic() + DEADLINE_S
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
            else:
                assert time.monotonic() < end, f"still running, having shown {self.text!r}"
                with contextlib.suppress(AssertionError):
                    self._read_quietly()
        return os.waitstatus_to_exitcode(self.status)

    def _read_quietly(self) -> None:
        if select.select((self.fd,), (), (), 0.01)[0]:
            with contextlib.suppress(OSError):
                self.text += os.read(self.fd, 65536)

    def close(self) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        os.close(self.fd)


def _in_order(text: bytes, marks: tuple[bytes, ...]) -> bool:
    at = 0
    for mark in marks:
        at = text.find(mark, at)
        if at < 0:
            return False
        at += len(mark)
    return True


@pytest.fixture
def screen(wrapped: Wrapped) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def open_screen(argv: list[str], **options: Any) -> Screen:
        env = wrapped.env | options.pop("env", {})
        opened.append(Screen(argv, env, wrapped.cwd, **options))
        return opened[-1]

    yield open_screen
    for one in opened:
        one.close()
