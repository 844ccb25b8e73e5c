"""A room for one job: its directories, a spool of its own, and attempts in this process or in one that may be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etlmon.host.endpoint import Endpoint
from etlmon.pipelines.main import attempt
from etlmon.pipelines.spec import Spec
from etlmon.sdk.process import use_reporter
from etlmon.sdk.reporter import Reporter

NOWHERE = "http://127.0.0.1:9"


class Room:
    """``run`` is an attempt here; ``start`` one in a process of its own. Both keep the work directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"
        self.files = path / "files"
        self.files.mkdir()

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of the job."""
        path = self.files / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, name: str) -> bytes:
        """A file of the job."""
        return (self.files / name).read_bytes()

    def text(self, name: str) -> str:
        """A file of the job as text."""
        return self.read(name).decode()

    def rejects(self, name: str = "out.csv.rejects.jsonl") -> list[dict[str, Any]]:
        """The rejects."""
        return [json.loads(line) for line in self.text(name).splitlines()]

    def left(self) -> list[str]:
        """The names of all files of the job, hidden ones too."""
        return sorted(path.name for path in self.files.iterdir())

    def spec(self, kind: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The spec of an attempt, as a worker writes it."""
        known = {"type": kind, "name": "orders_nightly", "config": config, "workDir": str(self.work)}
        return known | {"allowedRoots": [str(self.files)], "allowedHosts": ["127.0.0.1"], "cwd": str(self.files)} | more

    def run(self, kind: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
        """One attempt in this process; its result."""
        import msgspec

        return attempt(msgspec.convert(self.spec(kind, config, **more), Spec))

    def start(self, kind: str, config: dict[str, Any], *, code: str = "", **more: Any) -> subprocess.Popen[bytes]:
        """One attempt in a process of its own; ``code`` is run in it first. Its result comes on stdout."""
        text = f"{code}\nimport sys\nfrom etlmon.pipelines.main import main\nsys.exit(main([]))"
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETLMON_")}
        env |= {"ETLMON_URL": NOWHERE, "ETLMON_TOKEN": "none", "ETLMON_DATA_DIR": str(self.path / "data")}
        process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.spec(kind, config, **more)).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The result of ``start``."""
        out, err = process.communicate(timeout=120)
        assert out, err.decode()
        result: dict[str, Any] = json.loads(out)
        return result


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A job's room; reports go to a directory and nowhere else."""
    reporter = Reporter(Endpoint(url=NOWHERE, token=None, origin="test"), spool_dir=tmp_path / "spool")
    before = use_reporter(reporter)
    yield Room(tmp_path)
    use_reporter(before)
    reporter.close(timeout_s=0, away_s=0)
