"""A hub over a journal in memory, served by a real aiohttp server on loopback, and viewers that talk to it."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from etlmon.core.access import Identity, Role
from etlmon.core.errors import EtlmonError, NotAuthenticated
from etlmon.core.events import Event, EventKind, Item, JobChange, LogRun, Notice
from etlmon.core.job import Job, LogLine, Status
from etlmon.host import clock
from etlmon.server.recorder import Recorder
from etlmon.server.recorder import Settings as RecorderSettings
from etlmon.server.store.store import Store
from etlmon.server.stream.hub import Hub, Settings

DEADLINE_S = 20.0
EPOCH = "k3f9"
START = {"name": "orders_nightly", "type": "csv_processing", "status": Status.RUNNING}


class MemoryJournal:
    """What the hub asks of a store, and the verbs of a reporter: each commits and tells the hub."""

    def __init__(self) -> None:
        self.epoch = EPOCH
        self.head = 0
        self.oldest = 0
        self.logs = SimpleNamespace(oldest_seq=0)
        self.items: list[Item] = []
        self.jobs: dict[str, Job] = {}
        self.n_reads = 0
        self.told: Callable[[list[Item], int], None] = lambda items, head: None
        self.before_active_jobs: Callable[[], None] = lambda: None

    async def active_jobs(self) -> list[Job]:
        await asyncio.sleep(0)
        self.before_active_jobs()
        return [job for job in self.jobs.values() if not job.is_final]

    async def items_after(self, after: int, upto: int, limit: int, *, jobs: bool, logs: bool) -> tuple[list[Item], int]:
        """As the store: events whole, of samples the newest of each job and without what was before."""
        self.n_reads += 1
        await asyncio.sleep(0)
        found: list[Item] = []
        for item in self.items:
            last = item.last_seq if isinstance(item, LogRun) else item.seq
            if last <= after or item.seq > upto:
                continue
            if isinstance(item, LogRun):
                if logs:
                    lines = [line for line in item.lines if line.seq > after]
                    found.append(LogRun(seq=lines[0].seq, at=item.at, lines=lines, jobs=item.jobs))
            elif isinstance(item, JobChange) and item.event is None:
                if jobs and self.jobs[item.after.id].seq == item.seq:
                    found.append(msgspec.structs.replace(item, before=None))
            elif jobs or isinstance(item, Notice):
                found.append(item)
            if len(found) >= limit:
                last = found[-1].last_seq if isinstance(found[-1], LogRun) else found[-1].seq
                return found, last
        return found, upto

    def commit(self, *items: Item) -> None:
        for item in items:
            self.head = item.last_seq if isinstance(item, LogRun) else item.seq
            if isinstance(item, JobChange):
                self.jobs[item.after.id] = item.after
        self.items += items
        self.told(list(items), self.head)

    def change(self, job_id: str, kind: EventKind | None = None, **fields: Any) -> JobChange:
        """One change, not yet committed."""
        before = self.jobs.get(job_id)
        seq, at = self.head + 1, clock.now_ms()
        if before is None:
            after = Job(id=job_id, created_at=at, updated_at=at, started_at=at, seq=seq, **{**START, **fields})
            kind = kind or EventKind.JOB_STARTED
        else:
            after = msgspec.structs.replace(before, seq=seq, updated_at=at, **fields)
        event = Event(kind=kind, job_id=job_id, at=at) if kind is not None else None
        return JobChange(seq=seq, at=at, before=before, after=after, event=event, received_at=at)

    def start(self, job_id: str, **fields: Any) -> int:
        self.commit(self.change(job_id, EventKind.JOB_STARTED, **fields))
        return self.head

    def progress(self, job_id: str, percent: float, **fields: Any) -> int:
        self.commit(self.change(job_id, progress_percent=percent, **fields))
        return self.head

    def finish(self, job_id: str, status: Status = Status.COMPLETED, **fields: Any) -> int:
        kind = EventKind(status.value)
        fields.setdefault("summary", {"durationMs": 5})
        self.commit(self.change(job_id, kind, status=status, finished_at=clock.now_ms(), **fields))
        return self.head

    def log(self, job_id: str, *messages: str, level: int = 20) -> int:
        at, seq, job = clock.now_ms(), self.head + 1, self.jobs[job_id]
        lines = [LogLine(seq + n, job_id, job.name, at, level, text) for n, text in enumerate(messages)]
        self.commit(LogRun(seq=seq, at=at, lines=lines, jobs={job_id: job}))
        return self.head

    def forget(self, upto: int) -> None:
        """Retention: what was committed up to a number is gone."""
        self.items = [each for each in self.items if each.seq > upto]
        self.oldest = upto

    def notice(self, topic: str, kind: str, **data: Any) -> int:
        self.commit(Notice(seq=self.head + 1, at=clock.now_ms(), topic=topic, type=kind, data=data))
        return self.head


class Viewer:
    """A client of ``/ws`` that reads one message at a time, whatever the framing."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self._held: list[dict[str, Any]] = []
        self.closed_with: int | None = None

    async def next(self) -> dict[str, Any]:
        """The next message; ConnectionError at the end."""
        while not self._held:
            msg = await self.ws.receive(timeout=DEADLINE_S)
            if msg.type is not aiohttp.WSMsgType.TEXT:
                self.closed_with = self.ws.close_code
                raise ConnectionError(f"closed with {self.ws.close_code}")
            decoded = msgspec.json.decode(msg.data)
            self._held = decoded if isinstance(decoded, list) else [decoded]
        return self._held.pop(0)

    async def until(self, kind: str, **data: Any) -> list[dict[str, Any]]:
        """All messages up to and with the first of ``kind`` whose data has these values."""
        taken: list[dict[str, Any]] = []
        while True:
            taken.append(await self.next())
            last = taken[-1]
            if last["type"] == kind and all(last["data"].get(key) == value for key, value in data.items()):
                return taken

    async def live(self) -> list[dict[str, Any]]:
        return await self.until("live")

    async def say(self, **message: Any) -> None:
        await self.ws.send_str(msgspec.json.encode(message).decode())

    async def ping(self) -> list[dict[str, Any]]:
        """All messages that came before the answer to a ping."""
        await self.say(type="ping", id="p")
        return (await self.until("pong"))[:-1]

    async def end(self) -> int | None:
        """Read to the end; the close code."""
        while self.closed_with is None:
            try:
                await self.next()
            except ConnectionError:
                break
        return self.closed_with


class Stage:
    """The journal, the hub and the server, and a door for viewers."""

    def __init__(self, journal: MemoryJournal, hub: Hub, url: str, http: aiohttp.ClientSession) -> None:
        self.journal = journal
        self.hub = hub
        self.url = url
        self.http = http
        self.viewers: list[Viewer] = []

    async def connect(
        self, query: str = "", *, role: str = "viewer", token_id: str | None = "t1", **kwargs: Any
    ) -> Viewer:
        headers = {"X-Role": role, "X-Token-Id": token_id} if token_id is not None else {}
        url = f"{self.url}/ws" + (f"?{query}" if query else "")
        self.viewers.append(Viewer(await self.http.ws_connect(url, headers=headers, max_msg_size=0, **kwargs)))
        return self.viewers[-1]

    async def leave(self) -> None:
        """Cut what viewers the test left open."""
        for viewer in self.viewers:
            viewer.ws._response.close()
        await self.http.close()

    async def wait(self, true: Callable[[], bool]) -> None:
        """Until the fact holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not true():  # noqa: ASYNC110  # facts of many kinds have no event
                await asyncio.sleep(0.002)


class RealStage(Stage):
    """As ``Stage``, over a real store and recorder; ``journal`` only keeps what was committed, to compare with."""

    def __init__(self, directory: Path, http: aiohttp.ClientSession) -> None:
        super().__init__(MemoryJournal(), None, "", http)  # type: ignore[arg-type]  # start() makes the hub
        self.directory = directory
        self.port = 0
        self._active: dict[str, str] = {}
        self._n_jobs = 0

    async def start(self) -> None:
        self.store = await Store.open(self.directory, on_commit=self._committed, now=clock.now_ms)
        self.hub = Hub(self.store, clock, Settings(ring_size=200), authenticate=authenticate, version="9.9")
        self.recorder = Recorder(self.store, self.hub, now=clock.now_ms, settings=RecorderSettings())
        self.runner = await serve_on(self.hub, self.port)
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.journal.epoch = self.store.epoch

    async def stop(self) -> None:
        await self.hub.close("restart")
        await self.runner.cleanup()
        await self.store.close()
        assert self.hub.stats.n_misplaced == 0

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def _committed(self, items: list[Item], head: int) -> None:
        self.journal.items += items
        self.journal.jobs |= {item.after.id: item.after for item in items if isinstance(item, JobChange)}
        self.journal.head = head
        self.hub.publish(items, head)

    async def report(self, dice: random.Random) -> None:
        """One batch of reports about a few jobs."""
        reports = [report for _ in range(dice.randrange(1, 4)) for report in self._reports(dice)]
        body = msgspec.json.encode({"reports": reports})
        admin = Identity(token_id="t", name="t", role=Role.ADMIN)
        receipt = await self.recorder.record(body, admin, clock.now_ms())
        assert receipt.accepted == len(reports)

    def _reports(self, dice: random.Random) -> list[dict[str, Any]]:
        if len(self._active) < 10:
            self._n_jobs += 1
            job_id = "j5" if self._n_jobs == 5 else f"job-{self._n_jobs}"
            self._active[job_id] = f"name_{dice.randrange(10)}"
            return [{"kind": "job_started", "jobId": job_id, "name": self._active[job_id], "type": "t"}]
        job_id = dice.choice(list(self._active))
        if dice.random() < 0.05:
            del self._active[job_id]
            return [{"kind": "completed", "jobId": job_id}]
        if dice.random() < 0.5:
            percent = round(dice.random() * 100, 2)
            return [{"kind": "progress", "jobId": job_id, "progressPercent": percent, "currentStep": "x" * 200}]
        return [
            {
                "kind": "log",
                "jobId": job_id,
                "level": dice.choice(["info", "warning", "error"]),
                "message": f"{'x' * 300} {'needle' if dice.random() < 0.1 else 'hay'}",
            }
            for _ in range(dice.randrange(1, 8))
        ]


async def serve_on(hub: Hub, port: int = 0) -> web.AppRunner:
    """A server with the hub alone."""

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await hub.serve(request, identify(request))
        except EtlmonError as fault:
            return web.json_response({"detail": fault.detail}, status=fault.status)

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    return runner


def open_http() -> aiohttp.ClientSession:
    """A client whose sockets take little that nobody reads, so that a slow reader is felt soon."""

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*info[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        return made

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, socket_factory=make_socket))


@pytest.fixture
async def real_stage(tmp_path: Path) -> AsyncIterator[RealStage]:
    """A stage over a real store."""
    stage = RealStage(tmp_path, open_http())
    await stage.start()
    yield stage
    await stage.leave()
    await stage.stop()


def identify(request: web.Request) -> Identity | None:
    role = request.headers.get("X-Role")
    return Identity(token_id=request.headers["X-Token-Id"], name="n", role=Role(role), owner="ana") if role else None


def authenticate(token: str) -> Identity:
    if token != "good":
        raise NotAuthenticated("This token is not one of this server's.")
    return Identity(token_id="t9", name="framed", role=Role.VIEWER)


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
async def stage_with(journal: MemoryJournal) -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    """Makes a stage with settings of the test's own."""
    made: list[tuple[web.AppRunner, Stage]] = []

    async def make(**settings: Any) -> Stage:
        hub = Hub(journal, clock, Settings(**settings), authenticate=authenticate, version="9.9")
        journal.told = hub.publish

        runner = await serve_on(hub)
        http = open_http()
        port = runner.addresses[0][1]
        made.append((runner, Stage(journal, hub, f"http://127.0.0.1:{port}", http)))
        return made[-1][1]

    yield make
    for runner, stage in made:
        await stage.leave()
        await stage.hub.close("test over")
        await runner.cleanup()
        assert stage.hub.stats.n_misplaced == 0
        assert stage.hub.n_connections == 0
        assert len(stage.hub.groups) == 0


@pytest.fixture
async def stage(stage_with: Callable[..., Awaitable[Stage]]) -> Stage:
    return await stage_with()
