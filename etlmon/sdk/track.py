"""``job.track``: the loop that counts. One addition and one comparison per item; the clock is read now and then."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Protocol, TypeVar

from etlmon.host.clock import monotonic_s

T = TypeVar("T")

LOOK_S: Final = 0.05
"""How long it is meant to be between two looks at the clock: half of the least time between two reports."""
OVERDUE_S: Final = 0.25
"""A loop that has become so slow that it did not look for this long is made to look at its next item."""


class LoopOwner(Protocol):
    """What a loop needs of its job."""

    def loop_begins(self, loop: Loop) -> None:
        """The first item is asked for."""

    def loop_counts(self, loop: Loop, n: int) -> None:
        """``n`` items are done."""

    def loop_ends(self, loop: Loop, n: int, *, finished: bool) -> None:
        """The loop is over; ``finished``: to its end or left on purpose, not by an exception of its own."""


class Loop:
    """One tracked loop. Other threads may make it look at the clock at its next item by ``hurry``."""

    def __init__(self, owner: LoopOwner, step: str | None, total: int | None) -> None:
        self.step = step
        self.total = total
        self.counts = False
        """Whether it is the outermost of its job, whose count is the job's."""
        self.due = [1]
        """At which item to look; a list, since an attribute would cost each item twice as much."""
        self._owner = owner
        self._n = 0
        self._looked_at = monotonic_s()

    def begin(self) -> None:
        """The first item is asked for."""
        self._looked_at = monotonic_s()
        self._owner.loop_begins(self)

    def look(self, n: int) -> None:
        """Tell that ``n`` items are done, and reckon after how many to look again: so many as take ``LOOK_S``."""
        now = monotonic_s()
        done, took = n - self._n, now - self._looked_at
        self._n, self._looked_at = n, now
        stride = done * 2 if took <= 0 else min(done * 2, int(done * LOOK_S / took))
        self.due[0] = n + max(1, stride)
        self._owner.loop_counts(self, n)

    def end(self, n: int, *, finished: bool) -> None:
        """The loop is over."""
        self._owner.loop_ends(self, n, finished=finished)

    def hurry(self, *, only_overdue: bool = False) -> None:
        """Look at the next item, whatever was reckoned; with ``only_overdue`` if that is long past."""
        if not only_overdue or monotonic_s() - self._looked_at > OVERDUE_S:
            self.due[0] = 0


def length_of(iterable: Any) -> int | None:
    """How many items there will be, when the iterable can tell."""
    try:
        return len(iterable)
    except Exception:  # noqa: BLE001 - a foreign __len__ may raise anything, and none of it is the job's business
        return None


def tracked(items: Iterable[T], loop: Loop, pass_by: Callable[[], None]) -> Iterator[T]:
    """Yield the items; at each look ``pass_by`` may hold or stop the loop."""
    loop.begin()
    n = 0
    due = loop.due
    finished = True
    try:
        for item in items:
            yield item
            n += 1
            if n >= due[0]:
                loop.look(n)
                pass_by()
    except GeneratorExit:
        raise  # the loop was left: on purpose, as far as anyone can tell
    except BaseException:
        finished = False
        raise
    finally:
        loop.end(n, finished=finished)


async def tracked_async(
    items: AsyncIterable[T], loop: Loop, pass_by: Callable[[], Awaitable[None]]
) -> AsyncIterator[T]:
    """As ``tracked``, for ``async for``."""
    loop.begin()
    n = 0
    due = loop.due
    finished = True
    try:
        async for item in items:
            yield item
            n += 1
            if n >= due[0]:
                loop.look(n)
                await pass_by()
    except GeneratorExit:
        raise
    except BaseException:
        finished = False
        raise
    finally:
        loop.end(n, finished=finished)
