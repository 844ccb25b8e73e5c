"""``job.track``: the loop that counts. One comparison per item; the clock is read about twenty times a second."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from etlmon.host.clock import monotonic_s

T = TypeVar("T")

LOOK_S: Final = 0.05
"""How long a stride is meant to last: half of the least time between two reports."""
MAX_STRIDE: Final = 1 << 20


def length_of(iterable: Any) -> int | None:
    """How many items there will be, when the iterable can tell."""
    try:
        return len(iterable)
    except Exception:  # noqa: BLE001 - a foreign __len__ may raise anything, and none of it is the job's business
        return None


class Stride:
    """After how many items to read the clock again: so many as took ``LOOK_S`` last time."""

    def __init__(self) -> None:
        self.size = 1
        self._read_at = monotonic_s()

    def next(self) -> int:
        """The next stride, from how long the last one took; at most doubled, so that a slow spell is noticed."""
        now = monotonic_s()
        took = now - self._read_at
        self._read_at = now
        fitting = self.size * 2 if took <= 0 else int(self.size * LOOK_S / took)
        self.size = max(1, min(fitting, self.size * 2, MAX_STRIDE))
        return self.size


def tracked(
    items: Iterable[T],
    begin: Callable[[], None],
    count: Callable[[int], None],
    pass_by: Callable[[], None],
    end: Callable[[int, bool], None],
) -> Iterator[T]:
    """Yield the items. ``count`` is told how many are done, ``pass_by`` may stop the loop, ``end`` is told whether it
    was left by an exception of its own."""
    begin()
    n = 0
    due = 1
    stride = Stride()
    finished = True
    try:
        for item in items:
            yield item
            n += 1
            if n >= due:
                count(n)
                pass_by()
                due = n + stride.next()
    except GeneratorExit:
        raise  # the loop was left: on purpose, as far as anyone can tell
    except BaseException:
        finished = False
        raise
    finally:
        end(n, finished)


async def tracked_async(
    items: AsyncIterable[T],
    begin: Callable[[], None],
    count: Callable[[int], None],
    pass_by: Callable[[], Awaitable[None]],
    end: Callable[[int, bool], None],
) -> AsyncIterator[T]:
    """As ``tracked``, for ``async for``."""
    begin()
    n = 0
    due = 1
    stride = Stride()
    finished = True
    try:
        async for item in items:
            yield item
            n += 1
            if n >= due:
                count(n)
                await pass_by()
                due = n + stride.next()
    except GeneratorExit:
        raise  # the loop was left: on purpose, as far as anyone can tell
    except BaseException:
        finished = False
        raise
    finally:
        end(n, finished)
