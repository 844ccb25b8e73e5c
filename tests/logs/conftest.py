"""A log store over a temporary directory, a clock that tests move, and lines made to measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogSettings, LogStore

NOON = 1_763_899_200_000  # 2025-11-23T12:00:00Z


class Clock:
    """The store's clock: it stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_line() -> Callable[..., LogLine]:
    """A line by its seq; what is not given follows from the seq, over three jobs."""

    def make(seq: int, message: str | None = None, **over: object) -> LogLine:
        job = ("orders_nightly", "crm_sync", "ledger_close")[seq % 3]
        given: dict[str, object] = {
            "job_id": f"job-{seq % 3}",
            "name": job,
            "at": NOON + seq,
            "level": (20, 20, 30, 20, 40)[seq % 5],
            "message": f"row {seq} of {job} loaded" if message is None else message,
        }
        return LogLine(seq=seq, **{**given, **over})  # type: ignore[arg-type]

    return make


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., LogStore]]:
    """Opens a store over the test's directory (again, for a restart); all are closed at the end."""
    opened: list[LogStore] = []

    def make(head: int = 0, *, named: Callable[[int], bool] | None = None, **settings: int) -> LogStore:
        store = LogStore(tmp_path / "logs", LogSettings(**settings), clock)
        opened.append(store)
        store.open(head, named)
        return store

    yield make
    for store in opened:
        store.close()
