"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from world import ServerProcess


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    """A server that serves; ended when the test is."""
    running = ServerProcess(data_dir).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers over data directories of their own (or a given one), not yet started; all ended with the test."""
    made: list[ServerProcess] = []

    def make(data_dir: Path | None = None, *, args: tuple[str, ...] = ()) -> ServerProcess:
        directory = data_dir or tmp_path / f"data-{len(made)}"
        directory.mkdir(mode=0o700, exist_ok=True)
        made.append(ServerProcess(directory, args=args))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
