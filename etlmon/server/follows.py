"""Who waits for log lines over REST (``follow=true``). A follow holds no lines: it is woken when lines of its job were
committed, and reads them from the store by its cursor. So a slow reader costs nothing and can miss nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from etlmon.core.events import Item, JobChange, LogRun


class Follow:
    """One reader's bell: rung by a commit that holds lines of its job (any job when ``job_id`` is None)."""

    def __init__(self, job_id: str | None) -> None:
        self.job_id = job_id
        self.bell = asyncio.Event()

    async def rung(self, timeout_s: float) -> bool:
        """Wait for the bell at most ``timeout_s``; whether it rang. The bell is silent again after."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.bell.wait()
        except TimeoutError:
            return False
        self.bell.clear()
        return True


class Follows:
    """Every open follow. Told of each commit after it is durable."""

    def __init__(self) -> None:
        self._open: set[Follow] = set()

    @contextmanager
    def open(self, job_id: str | None) -> Iterator[Follow]:
        """A follow, until the block ends. Open it before the first read, so that no commit falls between."""
        follow = Follow(job_id)
        self._open.add(follow)
        try:
            yield follow
        finally:
            self._open.discard(follow)

    def publish(self, items: Sequence[Item]) -> None:
        """Ring the bells that these committed items concern."""
        if not self._open:
            return
        touched: set[str] = set()
        for item in items:
            if type(item) is LogRun:
                touched.update(item.jobs)
            elif type(item) is JobChange and item.after.is_final:
                touched.add(item.after.id)
        for follow in self._open:
            if follow.job_id in touched or (follow.job_id is None and touched):
                follow.bell.set()

    def close(self) -> None:
        """Wake everybody: the server stops."""
        for follow in self._open:
            follow.bell.set()

    def __len__(self) -> int:
        return len(self._open)
