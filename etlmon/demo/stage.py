"""The demo's stage: a server of its own and three real jobs, started as a user would start them. Knows no display."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from etlmon.core.errors import EtlmonError
from etlmon.host.endpoint import read_server_file

DATA = Path(__file__).parent / "data"
FLIGHTS = DATA / "flights-2013-01-02.csv.gz"
AIRLINES = DATA / "airlines.csv"
REPORT = Path(__file__).parent / "programs" / "carrier_report.sh"
START_S = 20.0
STOP_S = 15.0
JOBS = ("flights_load", "carrier_report", "broken_feed")


class Stage:
    """A server over ``directory`` and the demo's jobs; ``rows_per_second`` holds the load back for watching."""

    def __init__(self, directory: Path, *, rows_per_second: float) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.rows_per_second = rows_per_second
        self.url = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._jobs: list[subprocess.Popen[bytes]] = []
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ETLMON_")}
        self._environment = kept | {"ETLMON_DATA_DIR": str(self.data_dir)}

    def open(self) -> None:
        """Start the server and wait until it serves."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
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

    def begin(self) -> None:
        """Start the three jobs: a load with the SDK, a wrapped shell script, a load that is given the wrong file."""
        program = [sys.executable, "-m", "etlmon.demo.programs.load_flights"]
        pace = ["--rows-per-second", str(self.rows_per_second)]
        load = [*program, str(FLIGHTS), str(self.directory / "flights.db"), "--name", JOBS[0], *pace]
        wrapped = [sys.executable, "-m", "etlmon", "run", "--name", JOBS[1], "--tag", "env=demo", "--"]
        broken = [*program, str(AIRLINES), str(self.directory / "broken.db"), "--name", JOBS[2]]
        report = [*wrapped, "sh", str(REPORT), str(FLIGHTS), str(AIRLINES)]
        for argv, name in zip((load, report, broken), JOBS, strict=True):
            self._jobs.append(self._spawn(argv, f"{name}.out"))

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
        """End what is left: jobs first, then the server, politely and then for good."""
        for process in (*self._jobs, *([self._server] if self._server else [])):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
