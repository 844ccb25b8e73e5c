"""Lines for the log room: what there is, then what comes, each once and in order; across reconnects and resets.

Joined as docs/websocket.md says: the place first, then history over REST, then live from that place. What comes is kept
until the next flush takes it; what is more than that can hold is counted and told in its place. Imports no Textual.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from etlmon.client.live import Link, LinkState, Live, Message, Reset, Timing, position
from etlmon.client.rest import AWAY, Client
from etlmon.core import errors
from etlmon.core.protocol import Wanted
from etlmon.host.endpoint import Endpoint
from etlmon.tui.logs.entry import RESTART, Entry, Lanes, entry_of, hole, hole_of

T = TypeVar("T")

PAGE = 1000
"""Lines of one page of history: the server gives no more at once."""
MOST_WAITING = 50_000
"""The most lines that wait for a flush."""
MOST_PAGES = 5
"""How many pages a break is read back over before what is missing is told."""
BETWEEN_S = 0.2
"""How long after a reset the missed lines are read: a server that resets again and again is not hurried."""
AGAIN_S = 5.0
"""How long a fault that a person must heal waits for the next try."""


class Asks(Protocol):
    """What a feed needs of ``tui.rest.Rest``."""

    async def ask(self, question: Callable[[Client], T]) -> T:
        """The answer to a question, asked elsewhere than in the loop."""
        ...


class LogFeed:
    """The lines of some jobs (none named: of all). Run ``run`` in a worker; ``take`` what came at each flush."""

    def __init__(
        self,
        rest: Asks,
        where: Callable[[], Endpoint],
        job_ids: Sequence[str],
        lanes: Lanes,
        *,
        now: Callable[[], int],
        most: int = MOST_WAITING,
        timing: Timing | None = None,
    ) -> None:
        self.job_ids = tuple(job_ids)
        self.lanes = lanes
        self.link: Link | None = None
        """How it stands with the server."""
        self.fault: str | None = None
        """What the server refused, in its words."""
        self.is_read = False
        """Whether the newest lines have been read, so that none means none."""
        self.has_older = False
        """Whether the server may hold older lines than those handed over."""
        self._rest, self._where, self._now = rest, where, now
        self._most = most
        self._timing = timing or Timing()
        self._waiting: deque[Entry] = deque()
        self._n_passed = 0
        self._oldest: str | None = None
        self._last_seq: int | None = None
        self._epoch: str | None = None

    @property
    def n_waiting(self) -> int:
        """How many lines wait to be taken."""
        return len(self._waiting)

    def take(self) -> list[Entry]:
        """What came since the last time, oldest first; what did not fit is a hole at its head."""
        taken = list(self._waiting)
        self._waiting.clear()
        if self._n_passed:
            told = f"{self._n_passed:,} lines passed over: they came faster than they can be shown"
            first = taken[0] if taken else None
            taken.insert(0, hole(first.seq - 1 if first else 0, first.at if first else self._now(), told))
            self._n_passed = 0
        return taken

    def _put(self, entry: Entry) -> None:
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self._n_passed += 1
        self._waiting.append(entry)

    # History

    async def older(self) -> list[Entry]:
        """The page before the oldest lines had, oldest first; a fault is core.errors'."""
        if self._oldest is None:
            return []
        page = await self._page(self._oldest)
        self._turn(page)
        return self._entries(page)[::-1]

    async def _page(self, cursor: str | None) -> dict[str, Any]:
        path, params = self._asked()
        asked = [*params, ("order", "desc"), ("limit", PAGE), ("cursor", cursor)]
        page: dict[str, Any] = await self._rest.ask(lambda client: client.get(path, asked))
        return page

    def _asked(self) -> tuple[str, list[tuple[str, Any]]]:
        if len(self.job_ids) == 1:
            return f"/api/jobs/{self.job_ids[0]}/logs", []
        return "/api/logs", [("jobs", "id:" + ",".join(self.job_ids))] if self.job_ids else []

    def _turn(self, page: Mapping[str, Any]) -> None:
        following = page.get("nextCursor")
        self._oldest = following if isinstance(following, str) else None
        self.has_older = self._oldest is not None

    def _entries(self, page: Mapping[str, Any]) -> list[Entry]:
        items = page.get("items")
        lines = (entry_of(item, self.lanes) for item in items if isinstance(item, dict)) if items else ()
        return [entry for entry in lines if entry is not None]

    # Live

    async def run(self) -> None:
        """Read and follow, until cancelled."""
        failures = 0
        while True:
            try:
                since = await self._join()
                self.fault, failures = None, 0
                await self._follow(since)
                await asyncio.sleep(BETWEEN_S)
            except AWAY as error:
                wait = self._wait(failures)
                failures = min(failures + 1, 16)
                self.link = Link(state=LinkState.WAITING, detail=error.detail, retry_in_s=wait)
                await asyncio.sleep(wait)
            except errors.EtlmonError as error:
                self.fault = error.detail
                await asyncio.sleep(AGAIN_S)
            except Exception as error:  # noqa: BLE001 - a reader that ends without a word looks like a quiet job
                self.fault = f"Reading the log failed and is tried again: {type(error).__name__}: {error}"
                await asyncio.sleep(AGAIN_S)

    def _wait(self, failures: int) -> float:
        bound = min(self._timing.longest_retry_s, self._timing.first_retry_s * 2**failures)
        return random.uniform(bound / 4, bound)  # noqa: S311 - spreads reconnects, keeps no secret

    async def _join(self) -> str | None:
        """Read what there is, or what was missed; the place from which live lines follow it."""
        if self.link is None:
            self.link = Link(state=LinkState.CONNECTING)
        here = await position(self._where, timing=self._timing)
        if here is not None and self._epoch is not None and here.epoch != self._epoch:
            self._put(hole(RESTART, self._now(), "another store answers: what follows is its log"))
            self._last_seq, self.has_older, self._oldest = None, False, None
            await self._read_newest(turn=False)
        elif self._last_seq is None:
            await self._read_newest(turn=not self.is_read)
        else:
            await self._read_missed(self._last_seq)
        self._epoch = here.epoch if here is not None else self._epoch
        return here.format() if here is not None else None

    async def _read_newest(self, *, turn: bool) -> None:
        page = await self._page(None)
        if turn:
            self._turn(page)
        for entry in reversed(self._entries(page)):
            self._take_over(entry)
        self.is_read = True

    async def _read_missed(self, last: int) -> None:
        """What came after ``last``, from the newest back; where that is too far the rest is told as a hole."""
        missed: list[Entry] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._page(cursor)
            entries = self._entries(page)
            missed += [entry for entry in entries if entry.seq > last]
            cursor = page.get("nextCursor")
            if cursor is None or any(entry.seq <= last for entry in entries):
                break
        else:
            told = "lines are missing here: they came while no word did"
            oldest = missed[-1] if missed else None
            self._put(hole(oldest.seq - 1 if oldest else last, oldest.at if oldest else self._now(), told))
        for entry in reversed(missed):
            self._take_over(entry)

    def _take_over(self, entry: Entry) -> None:
        if self._last_seq is None or entry.seq > self._last_seq:
            self._last_seq = entry.seq
            self._put(entry)

    async def _follow(self, since: str | None) -> None:
        """Live lines, until what was missed cannot be told by them: then it is read."""
        wanted = Wanted(topics="logs", job_ids=list(self.job_ids) or None)
        live = Live(self._where, wanted, since=since, after=self._last_seq, timing=self._timing)
        async with aclosing(aiter(live)) as items:
            async for item in items:
                if isinstance(item, Message):
                    self._hear(item)
                elif isinstance(item, Link):
                    self.link = item
                elif isinstance(item, Reset):
                    return

    def _hear(self, message: Message) -> None:
        if message.type == "log_message":
            entry = entry_of(message.data, self.lanes)
            if entry is not None:
                self._take_over(entry)
        elif message.type == "gap":
            self._put(hole_of(message.seq or 0, self._now(), message.data))
