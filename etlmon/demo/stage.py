"""The demo's stage: a server and a worker of its own, and real jobs, started as a user would start them.

Knows no display. The chain is queued and run by the worker; the other three are programs of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from etlmon.client.rest import Client
from etlmon.core.errors import EtlmonError
from etlmon.demo.chain import CHAIN, config_text
from etlmon.demo.endpoint import Endpoint
from etlmon.host.endpoint import find_endpoint, read_server_file, write_private

DATA = Path(__file__).parent / "data"
FLIGHTS = DATA / "flights-2013-01-02.csv.gz"
AIRLINES = DATA / "airlines.csv"
REPORT = Path(__file__).parent / "programs" / "carrier_report.sh"
START_S = 20.0
STOP_S = 15.0
PROGRAMS = ("flights_load", "carrier_report", "broken_feed")
JOBS = (*PROGRAMS, *CHAIN)
REQUESTS_PER_SECOND = 40
"""What the upload may send: some six seconds to watch."""
PAUSE_AT, PAUSE_S = 30.0, 2.5
"""An operator pauses the load at so many percent, and resumes it so many seconds later."""


class Stage:
    """A server over ``directory`` and the demo's jobs; ``rows_per_second`` holds the load back for watching."""

    def __init__(self, directory: Path, *, rows_per_second: float) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.rows_per_second = rows_per_second
        self.url = ""
        self.endpoint = Endpoint()
        self._server: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._jobs: list[subprocess.Popen[bytes]] = []
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ETLMON_")}
        self._environment = kept | {"ETLMON_DATA_DIR": str(self.data_dir)}

    def open(self) -> None:
        """Start the server and wait until it serves."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self.data_dir / "config.toml"
        port = self.endpoint.port
        text = config_text(
            self.directory, flights=FLIGHTS, airlines=AIRLINES, port=port, requests_per_second=REQUESTS_PER_SECOND
        )
        write_private(config, text.encode())
        argv = [
            sys.executable,
            "-m",
            "etlmon",
            "server",
            "--data-dir",
            str(self.data_dir),
            "--port",
            "0",
            "--no-worker",
        ]
        self._server = self._spawn(argv, "server.log")
        until = time.monotonic() + START_S
        while (found := read_server_file(self.data_dir)) is None or found.pid != self._server.pid:
            if self._server.poll() is not None or time.monotonic() > until:
                raise EtlmonError(f"The demo's server did not start: {self._last_words('server.log')}")
            time.sleep(0.02)
        self.url = found.url
        self._worker = self._spawn([sys.executable, "-m", "etlmon", "worker"], "worker.log")

    def begin(self) -> None:
        """Start the jobs: a load with the SDK, a wrapped script, a load of the wrong file; and queue the chain."""
        program = [sys.executable, "-m", "etlmon.demo.programs.load_flights"]
        pace = ["--rows-per-second", str(self.rows_per_second)]
        load = [*program, str(FLIGHTS), str(self.directory / "flights.db"), "--name", PROGRAMS[0], *pace]
        wrapped = [sys.executable, "-m", "etlmon", "run", "--name", PROGRAMS[1], "--tag", "env=demo", "--"]
        broken = [*program, str(AIRLINES), str(self.directory / "broken.db"), "--name", PROGRAMS[2]]
        report = [*wrapped, "sh", str(REPORT), str(FLIGHTS), str(AIRLINES)]
        for argv, name in zip((load, report, broken), PROGRAMS, strict=True):
            self._jobs.append(self._spawn(argv, f"{name}.out"))
        threading.Thread(target=self._operate, name="demo-operator", daemon=True).start()

    def _operate(self) -> None:
        """What a person would do meanwhile: queue the chain, pause the load for a moment."""
        client = Client(find_endpoint(data_dir=self.data_dir))
        try:
            before: list[str] = []
            for name in CHAIN:
                before = [client.post("/api/jobs", body={"name": name, "after": before})["id"]]
            self._pause_and_resume(client)
        except EtlmonError as fault:  # somebody was faster, or has left the demo
            (self.directory / "operator.log").write_text(fault.detail)
        finally:
            client.close()

    def _pause_and_resume(self, client: Client) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            (load,) = client.listed("/api/jobs", {"name": PROGRAMS[0]}) or ({},)
            if (load.get("progressPercent") or 0) >= PAUSE_AT:
                client.post(f"/api/jobs/{load['id']}/pause", body={"reason": "a look at the disk first"})
                time.sleep(PAUSE_S)
                client.post(f"/api/jobs/{load['id']}/resume", body={"reason": "there is room"})
                return
            time.sleep(0.1)

    def _spawn(self, argv: list[str], log_name: str) -> subprocess.Popen[bytes]:
        with open(self.directory / log_name, "wb") as log:
            return subprocess.Popen(
                argv, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _last_words(self, log_name: str) -> str:
        lines = (self.directory / log_name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    @property
    def jobs_are_over(self) -> bool:
        """Whether every job's process has ended."""
        return all(job.poll() is not None for job in self._jobs)

    def close(self) -> None:
        """End what is left: jobs first, then worker and server, politely and then for good."""
        for process in (*self._jobs, *(each for each in (self._worker, self._server) if each is not None)):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.endpoint.close()
