"""The workers' world: real worker processes, the programs that a server defines, and words to say to both."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from world import DEADLINE_S, ServerProcess, wait_until

FINAL = ("completed", "failed", "cancelled")


class WorkerProcess:
    """``etlmon worker`` for a server, with a data directory of its own or the server's."""

    def __init__(self, server: ServerProcess, home: Path, args: tuple[str, ...]) -> None:
        self.home = home
        self.log_file = home / "worker.log"
        env = server.env | {"ETLMON_URL": server.url, "ETLMON_TOKEN": server.token, "ETLMON_DATA_DIR": str(home)}
        argv = [sys.executable, "-m", "etlmon", "worker", "--grace", "1s", "--drain", "4s", *args]
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self) -> str:
        """What it has printed."""
        return self.log_file.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Signal the worker's own process."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


class Yard:
    """A server, its workers, and the words that the tests say to them."""

    def __init__(self, server: ServerProcess, tmp_path: Path) -> None:
        self.server = server
        self.tmp_path = tmp_path
        self.workers: list[WorkerProcess] = []

    def worker(self, *args: str) -> WorkerProcess:
        """Start a worker with a directory of its own."""
        home = self.tmp_path / f"worker-{len(self.workers)}"
        home.mkdir(mode=0o700)
        config = self.server.data_dir / "config.toml"
        self.workers.append(WorkerProcess(self.server, home, ("--config", str(config), *args)))
        return self.workers[-1]

    def submit(self, name: str, **fields: Any) -> str:
        """Queue a job; its id."""
        job_id: str = self.server.api("POST", "/api/jobs", {"name": name, **fields})["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """The job now."""
        found: dict[str, Any] = self.server.api("GET", f"/api/jobs/{job_id}")
        return found

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """The job, once it has one of the statuses."""
        found: dict[str, Any] = wait_until(
            lambda: (job := self.job(job_id))["status"] in statuses and job, f"{job_id} is {statuses}"
        )
        return found

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it is final."""
        return self.until(job_id, *FINAL)

    def said(self, job_id: str) -> list[str]:
        """The job's log lines."""
        page = self.server.api("GET", f"/api/jobs/{job_id}/logs?limit=1000")
        return [line["message"] for line in page["items"]]

    def kinds(self, job_id: str) -> list[str]:
        """What the journal tells of the job."""
        return [event["kind"] for event in self.server.api("GET", f"/api/jobs/{job_id}/events?limit=1000")["items"]]

    def control(self, job_id: str, action: str, **fields: Any) -> dict[str, Any]:
        """Pause, resume or cancel."""
        asked: dict[str, Any] = self.server.api("POST", f"/api/jobs/{job_id}/{action}", {"reason": "a test", **fields})
        return asked


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


PROGRAMS: dict[str, str | None] = {
    "missing": None,
    "hello": "print('hello, world', flush=True)",
    "crm_sync": "import sys; print('going well'); sys.exit('crm: connection refused')",
    "ledger_close": "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)",
    "stubborn": (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); print('pid', os.getpid(), flush=True); "
        "time.sleep(600)"
    ),
    "until_file": (
        "import os, pathlib, time; print('pid', os.getpid(), os.environ['ETLMON_FENCING_TOKEN'], flush=True)\n"
        "while not pathlib.Path(os.environ['GO']).exists():\n    time.sleep(0.01)\n"
        "print('went on', flush=True)"
    ),
    "polite": (
        "import os, pathlib, time, etlmon\n"
        "with etlmon.job('polite') as job:\n"
        "    job.log.info('started')\n"
        "    while not pathlib.Path(os.environ['GO']).exists():\n        job.checkpoint(); time.sleep(0.01)\n"
        "    job.progress(current=7, total=7)\n"
        "    job.log.info('done')\n"
    ),
}


def definitions(go: Path) -> str:
    """[jobs.NAME] for each of the programs; ``go`` is the file that some wait for."""
    parts = [
        f"[jobs.{name}]\ncommand = {_command(code)}\nenv = {{ GO = {str(go)!r} }}\n" for name, code in PROGRAMS.items()
    ]
    return "\n".join(parts)


def _command(code: str | None) -> str:
    return f"[{sys.executable!r}, '-c', {toml_text(code)}]" if code is not None else "['/nonexistent/program']"


def toml_text(text: str) -> str:
    """A basic string of TOML."""
    import json

    return json.dumps(text)
