"""The one worker that listens: the live stream → ``JobsState``; the link's changes → ``LinkState``.

Nothing is painted here; the flush of the shown screen reads what changed. Imports aiohttp (through client.live) late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from etlmon.core import errors
from etlmon.core.instants import format_instant
from etlmon.core.text import shown
from etlmon.host.clock import monotonic_s, now_ms
from etlmon.host.endpoint import DEFAULT_ORIGIN
from etlmon.tui.drawing import figures
from etlmon.tui.jobs.live import LiveJob, from_view, instant
from etlmon.tui.jobs.state import WINDOW_MS, JobsState
from etlmon.tui.link_state import LinkState, Standing
from etlmon.tui.rest import Rest

if TYPE_CHECKING:
    from etlmon.client.live import Link, Live
    from etlmon.client.polling import Message
    from etlmon.client.rest import Client
    from etlmon.host.endpoint import Endpoint

SLICE = 500
"""Jobs taken in one turn of the loop, so that a key never waits for a long list."""
MOST_ENDED = 20_000
FIGURES_EVERY_S = 5.0
SPARKS = 60
SKEW_MS = 1500
"""Clocks that differ by less count as equal: the difference may be the way of the message."""


class Feed:
    """Listens until it is cancelled. ``told`` is called with a sentence when the person should know something."""

    def __init__(
        self,
        find: Callable[[], Endpoint],
        rest: Rest,
        jobs: JobsState,
        link: LinkState,
        told: Callable[[str, str, str], None],
    ) -> None:
        self.find = find
        self.rest = rest
        self.jobs = jobs
        self.link = link
        self.told = told
        self.rows_per_s: deque[float | None] = deque(maxlen=SPARKS)
        self.lines_per_s: deque[float | None] = deque(maxlen=SPARKS)
        self.has_list = False
        """Whether the list of jobs is known: an empty one is no longer a question."""
        self.queue_news = 0
        """Grows with what may have changed the queue."""
        self._kick = asyncio.Event()
        self._skew_ms = 0
        self._live: Live | None = None
        self._n_changes = 0
        self._was_reset = ""

    def now(self) -> int:
        """The server's instant; it stands still while the server is away."""
        if self.link.is_away and self.link.away_at is not None:
            return self.link.away_at + self._skew_ms
        return now_ms() + self._skew_ms

    def reconnect(self) -> None:
        """Try now."""
        self._kick.set()

    async def run(self) -> None:
        """Connect, listen, reconnect; a refusal is shown and waits for a person."""
        while True:
            self._kick.clear()
            if not self.find().url:
                self._stand(Standing.NO_SERVER)
                await self._kicked(1.0)
                continue
            listening = asyncio.create_task(self._listen(), name="console-listen")
            kicked = asyncio.create_task(self._kick.wait(), name="console-kick")
            try:
                await asyncio.wait({listening, kicked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                kicked.cancel()
                if not listening.done():
                    listening.cancel()
                await asyncio.gather(listening, kicked, return_exceptions=True)
            if listening.done() and not listening.cancelled() and (fault := listening.exception()) is not None:
                self._refused(fault)
                await self._kicked(30.0 if isinstance(fault, errors.EtlmonError) else 5.0)

    async def _kicked(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._kick.wait()
        except TimeoutError:
            pass

    def _refused(self, fault: BaseException) -> None:
        self.link.fault = shown(fault.detail if isinstance(fault, errors.EtlmonError) else str(fault))
        if isinstance(fault, errors.NotAuthenticated):
            name = self.link.server or self.link.url
            has_one = bool(self.find().token)
            self.link.fault = f"{name} refused the token: revoked or unknown." if has_one else f"{name} wants a token."
        if isinstance(fault, errors.NotAuthenticated | errors.Forbidden):
            self._stand(Standing.REFUSED)
        elif isinstance(fault, errors.EtlmonError) and "protocol" in fault.detail:
            self.link.newer_protocol = self.link.fault
            self._stand(Standing.REFUSED)
        else:
            self.link.retry_at = now_ms() + 5000
            self._stand(Standing.WAITING)

    async def _listen(self) -> None:
        from etlmon.client.live import Link, Live, Reset
        from etlmon.core.protocol import Wanted

        await self._let_in()
        live = Live(self.find, Wanted(topics="jobs,alerts,config,queue"), since=self._cursor())
        self._live = live
        self.link.poll_s = live.timing.poll_s
        async with aclosing(aiter(live)) as items:
            async for item in items:
                if isinstance(item, Link):
                    await self._link_changed(item)
                elif isinstance(item, Reset):
                    self._was_reset = item.reason
                    self.jobs.forget_active()
                else:
                    self._take(item)

    async def _let_in(self) -> None:
        """Without a token, ask first whether one is wanted: a socket would only say so after ten seconds."""
        if self.find().token:
            return
        try:
            await self.rest.ask(lambda client: client.get("/api/jobs", {"limit": 1}))
        except errors.NotAuthenticated:
            raise
        except errors.EtlmonError:
            return  # the live reader says how it stands

    def _cursor(self) -> str | None:
        before = self._live
        return before.cursor.format() if before is not None and before.cursor is not None and self.has_list else None

    def _take(self, message: Message) -> None:
        local = now_ms()
        at = instant(message.at)
        self.link.heard_at = local
        if at is not None and abs(at - local - self._skew_ms) > SKEW_MS and message.type != "snapshot":
            self._skew_ms = at - local if abs(at - local) > SKEW_MS else 0
        if self.link.standing is Standing.CATCHING_UP:
            self.link.caught_up += 1
        self._n_changes += 1
        self.queue_news += message.type != "job_progress"
        self.jobs.apply(message.type, message.data, message.seq, at or local + self._skew_ms)

    async def _link_changed(self, link: Link) -> None:
        from etlmon.client.live import LinkState as Told

        match link.state:
            case Told.CONNECTING:
                if self.link.standing is not Standing.NO_SERVER:
                    self._stand(Standing.CONNECTING)
            case Told.CATCHING_UP:
                self.link.caught_up = self._n_changes = 0
                self._stand(Standing.CATCHING_UP)
            case Told.WAITING:
                self.link.retries += 1
                self.link.retry_at = now_ms() + round(1000 * (link.retry_in_s or 0))
                nobody = not self.has_list and self.find().origin == DEFAULT_ORIGIN
                self._stand(Standing.NO_SERVER if nobody else Standing.WAITING)
            case Told.LIVE | Told.POLLING:
                await self._arrived(Standing.LIVE if link.state is Told.LIVE else Standing.POLLING)

    async def _arrived(self, standing: Standing) -> None:
        away_at, self.link.away_at = self.link.away_at, None
        if self._live is not None and self._live.role is not None:
            self.link.role = self._live.role
        self.link.heard_at = now_ms()
        self.link.retries = 0
        self._stand(standing)
        if not self.has_list or self._was_reset:
            await self._read_ended()
        if away_at is not None:
            self._say_back(now_ms() - away_at)
        self._was_reset = ""
        self.has_list = True

    def _say_back(self, away_ms: int) -> None:
        title = f"Back after {figures.worked(away_ms)}"
        if self._was_reset:
            self.told(title, "What happened meanwhile is no longer kept. The list is new.", "warn")
            return
        n = self._n_changes
        self.told(title, f"{n:,} change{'' if n == 1 else 's'} caught up, none missed.", "ok")

    def _stand(self, standing: Standing) -> None:
        link, now = self.link, now_ms()
        here = (Standing.LIVE, Standing.POLLING, Standing.CATCHING_UP)
        if link.standing in here and standing not in here and link.away_at is None:
            link.away_at = link.heard_at or now
        if link.standing is not standing:
            link.standing = standing
            if standing is not Standing.CONNECTING or link.away_at is None:
                link.since = now

    async def _read_ended(self) -> None:
        """The jobs that ended within the table's window: the snapshot names only those under way."""
        try:
            pages = await self.rest.ask(self._ended_jobs)
        except errors.EtlmonError as fault:
            self.told("The ended jobs could not be read", shown(fault.detail), "warn")
            return
        for at in range(0, len(pages), SLICE):
            self.jobs.merge(pages[at : at + SLICE], self.now())
            await asyncio.sleep(0)

    def _ended_jobs(self, client: Client) -> list[LiveJob]:
        now = now_ms() + self._skew_ms
        query = [("q", "status:completed,failed,cancelled"), ("since", format_instant(now - WINDOW_MS))]
        views: Iterator[dict[str, Any]] = client.items("/api/jobs", query, limit=MOST_ENDED)
        return [from_view(view, now) for view in views]

    def listen_for_life(self) -> None:
        """Note when the server last said anything: heartbeats count."""
        live = self._live
        if live is not None and live.heard_s is not None and not self.link.is_away:
            silent_ms = round(1000 * (monotonic_s() - live.heard_s))
            self.link.heard_at = max(self.link.heard_at or 0, now_ms() - silent_ms)

    async def watch_figures(self) -> None:
        """Every few seconds: rows and lines per second, the latency of an answer, whether the store can save."""
        while True:
            if self.link.standing in (Standing.LIVE, Standing.POLLING):
                try:
                    await self._read_figures()
                except errors.EtlmonError:
                    self.link.latency_ms = None
            else:
                self.rows_per_s.append(None)
                self.lines_per_s.append(None)
            await asyncio.sleep(FIGURES_EVERY_S)

    async def _read_figures(self) -> None:
        def read(client: Client) -> tuple[dict[str, Any], float, dict[str, Any]]:
            from time import perf_counter

            start = perf_counter()
            health = client.get("/api/health", accept=(503,))
            took = perf_counter() - start
            return client.get("/api/metrics/realtime"), took, health

        realtime, took, health = await self.rest.ask(read)
        self.link.latency_ms = max(1, round(took * 1000))
        self.lines_per_s.append(float(realtime.get("linesPerSecond") or 0))
        self.rows_per_s.append(self.jobs.sample_rates())
        troubles = [shown(str(state)) for state in (health.get("checks") or {}).values() if state != "ok"]
        self.link.degraded = ", ".join(troubles) or None
