"""What the worker's tests share: a server that defines some programs, whose workers end with the test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worker_world import Yard, definitions

from world import ServerProcess


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The file that some programs wait for."""
    return tmp_path / "go"


@pytest.fixture
def open_yard(make_server: Callable[..., ServerProcess], tmp_path: Path, go: Path) -> Iterator[Callable[[str], Yard]]:
    """Opens a yard over a server whose config has more than the programs."""
    yards: list[Yard] = []

    def start(more: str = "") -> Yard:
        made = make_server()
        config = made.data_dir / "config.toml"
        allowed = f"allowed_roots = [{str(tmp_path)!r}]\nallowed_hosts = ['127.0.0.1']"
        config.write_text(f"{more}\n[worker]\n{allowed}\n\n{definitions(go)}")
        config.chmod(0o600)
        yards.append(Yard(made.start(), tmp_path))
        return yards[-1]

    yield start
    for each in yards:
        for worker in each.workers:
            if worker.process.poll() is None:
                worker.send(signal.SIGCONT)
                worker.kill()


@pytest.fixture
def yard(open_yard: Callable[[str], Yard]) -> Yard:
    """A server with the programs, and no worker yet."""
    return open_yard("")
