"""Faults of machines, networks and people against the whole system: real processes, real sockets, a real full disk."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults.proxy import FaultProxy, Line

from etlmon.client.live import Link, Live, Reset, Timing
from etlmon.client.polling import Message
from etlmon.core.protocol import Wanted
from etlmon.host.endpoint import Endpoint
from world import ServerProcess, wait_until

PROGRAM = Path(__file__).with_name("reporting_job.py")


def has_no_traceback(server: ServerProcess) -> None:
    """A traceback in the server's log is a bug, whatever was done to it."""
    assert "Traceback" not in server.log(), server.log()[-4000:]


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    """A server that serves; whatever a test did to it, its log holds no traceback."""
    running = ServerProcess(data_dir).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()
    has_no_traceback(running)


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Puts a proxy before a server: ``make_proxy(server, line_of)``."""
    made: list[FaultProxy] = []

    def make(server: ServerProcess, line_of: Callable[[int], Line] | None = None) -> FaultProxy:
        made.append(FaultProxy(server.port))
        if line_of is not None:
            made[-1].line_of = line_of
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


class SmallDisk:
    """A file system of its own that can be filled to the last byte, and emptied again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take every free byte."""
        with open(self._filler, "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        assert self.n_free == 0

    def free(self) -> None:
        """Give back what ``fill`` took."""
        self._filler.unlink()

    @property
    def n_free(self) -> int:
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Mounts a small tmpfs; where that is not allowed the test is skipped."""
    made: list[SmallDisk] = []

    def make(size: str) -> SmallDisk:
        path = tmp_path / f"disk-{len(made)}"
        path.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)]
        try:
            outcome = subprocess.run(argv, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if outcome.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {outcome.stderr.decode().strip()}")
        made.append(SmallDisk(path))
        return made[-1]

    yield make
    for disk in made:
        subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


@pytest.fixture
def make_server(tmp_path: Path, make_disk: Any) -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers that are not yet started, with a config of their own; no log of theirs holds a traceback.

    They end before the small disks that they may lie on.
    """
    made: list[ServerProcess] = []

    def make(data_dir: Path | None = None, *, config: str = "") -> ServerProcess:
        directory = data_dir or tmp_path / f"data-{len(made)}"
        directory.mkdir(mode=0o700, exist_ok=True)
        file = tmp_path / f"config-{len(made)}.toml"
        file.write_text(config)
        file.chmod(0o600)
        made.append(ServerProcess(directory, args=("--config", str(file))))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
        if server.process is not None:
            has_no_traceback(server)


class Viewer:
    """The live reader that the CLI uses, in a thread: everything it was told, in order."""

    def __init__(self, url: str, token: str, wanted: Wanted) -> None:
        self.messages: list[Message] = []
        self.resets: list[str] = []
        self.links: list[str] = []
        self.fault: Exception | None = None
        self._live = Live(Endpoint(url=url, token=token, origin="test"), wanted, timing=Timing(longest_retry_s=1.0))
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._read())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _read(self) -> None:
        try:
            async for item in self._live:
                if isinstance(item, Message):
                    self.messages.append(item)
                elif isinstance(item, Reset):
                    self.resets.append(item.reason)
                elif isinstance(item, Link):
                    self.links.append(str(item.state))
        except Exception as fault:  # noqa: BLE001 - shown by the test that waits
            self.fault = fault

    @property
    def is_live(self) -> bool:
        assert self.fault is None, self.fault
        return bool(self.links) and self.links[-1] == "live"

    def lines(self, job_id: str | None = None) -> list[str]:
        """The log lines told so far."""
        return [
            m.data["message"]
            for m in list(self.messages)
            if m.type == "log_message" and job_id in (None, m.data["jobId"])
        ]

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """The data of all job messages about a job."""
        return [m.data for m in list(self.messages) if m.type.startswith("job_") and m.data["jobId"] == job_id]

    def close(self) -> None:
        if self._task is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)


@pytest.fixture
def view() -> Iterator[Callable[..., Viewer]]:
    """Opens live readers: ``view(server, topics="logs", url=proxy.url)``; waits until they are live."""
    made: list[Viewer] = []

    def open_viewer(server: ServerProcess, *, url: str | None = None, **wanted: Any) -> Viewer:
        made.append(Viewer(url or server.url, server.token, Wanted(**wanted)))
        wait_until(lambda: made[-1].is_live, "the viewer is live")
        return made[-1]

    yield open_viewer
    for viewer in made:
        viewer.close()


class ReportingJob:
    """A program with the SDK inside, reporting from its own process."""

    def __init__(self, server: ServerProcess, directory: Path, *, env: dict[str, str], pause_s: float) -> None:
        number = len(list(directory.glob("ledger-*")))
        self.ledger, self.stop_file = directory / f"ledger-{number}", directory / f"stop-{number}"
        self.ledger.touch()
        argv = [sys.executable, str(PROGRAM), str(self.ledger), str(self.stop_file), str(pause_s)]
        self.errors = directory / f"errors-{number}"
        with open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                argv, env=server.env | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
            )
        assert self.process.stdout is not None
        self.id = self.process.stdout.readline().decode().strip()

    @property
    def n_said(self) -> int:
        """How many lines reached the SDK."""
        return self.ledger.stat().st_size

    def say(self, n: int) -> None:
        """Wait until it has said ``n`` more."""
        until = self.n_said + n
        wait_until(lambda: self.n_said >= until, f"the job has said {until} lines")

    def stop(self) -> int:
        """Let it end as it wants to; its exit code."""
        self.stop_file.touch()
        return self.end()

    def end(self) -> int:
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.end()


@pytest.fixture
def spawn_job(tmp_path: Path) -> Iterator[Callable[..., ReportingJob]]:
    """Starts reporting jobs: ``spawn_job(server, url=proxy.url, spool_dir=…)``."""
    made: list[ReportingJob] = []

    def spawn(
        server: ServerProcess, *, url: str | None = None, spool_dir: Path | None = None, pause_s: float = 0.005
    ) -> ReportingJob:
        env = {} if url is None else {"ETLMON_URL": url, "ETLMON_TOKEN": server.token}
        if spool_dir is not None:
            env["ETLMON_SPOOL_DIR"] = str(spool_dir)
        made.append(ReportingJob(server, tmp_path, env=env, pause_s=pause_s))
        return made[-1]

    yield spawn
    for job in made:
        if job.process.poll() is None:
            job.kill()
        elif job.process.stdout is not None:
            job.process.stdout.close()


@pytest.fixture
def stored_lines() -> Callable[[ServerProcess, str], list[str]]:
    """Every stored line of a job, page by page."""

    def read(server: ServerProcess, job_id: str) -> list[str]:
        lines: list[str] = []
        cursor = ""
        while True:
            page = server.api("GET", f"/api/jobs/{job_id}/logs?limit=1000{cursor}")
            lines += [entry["message"] for entry in page["items"]]
            if page["nextCursor"] is None:
                return lines
            cursor = f"&cursor={page['nextCursor']}"

    return read


@pytest.fixture
def stored_events() -> Callable[[ServerProcess, str], list[dict[str, Any]]]:
    """A job's part of the journal, page by page."""

    def read(server: ServerProcess, job_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = server.api("GET", f"/api/jobs/{job_id}/events?limit=1000{cursor}")
            events += page["items"]
            if page["nextCursor"] is None:
                return events
            cursor = f"&cursor={page['nextCursor']}"

    return read


@pytest.fixture
def numbered() -> Callable[[int], list[str]]:
    """What a reporting job says, in order."""
    return lambda n: [f"line {k}" for k in range(n)]


@pytest.fixture
def dial() -> Iterator[Callable[..., socket.socket]]:
    """Opens raw TCP connections to a server: ``dial(server, b"GET …")``."""
    made: list[socket.socket] = []

    def connect(server: ServerProcess, data: bytes = b"", *, timeout_s: float = 15.0) -> socket.socket:
        made.append(socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s))
        if data:
            made[-1].sendall(data)
        return made[-1]

    yield connect
    for sock in made:
        sock.close()
