"""Jobs followed by id: what changes in a gap between two readings still comes, whatever the server's mood."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from etlmon.client.rest import Client
from etlmon.commands.following import follow_jobs
from etlmon.host.endpoint import Endpoint

RUNNING = {"id": "j1", "name": "orders_nightly", "status": "running", "seq": 5, "updatedAt": "2026-01-02T03:04:05.000Z"}
FAILED = {**RUNNING, "status": "failed", "seq": 9}


class Served:
    """A server in a thread: answers of ``GET /api/jobs/j1`` in turn (the last stays), then what it says live."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.after_live: list[dict[str, Any]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="served")
        self._thread.start()
        assert ready.wait(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/api/jobs/j1", self._job)
        app.router.add_get("/ws", self._socket)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _job(self, request: web.Request) -> web.Response:
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_json(self._message("welcome", {"epoch": "e", "cursor": "e:8", "protocol": 1}))
        async for frame in ws:
            assert json.loads(frame.data)["data"]["since"] == "e:8"
            await ws.send_json(self._message("subscribed", {"id": "main", "recovered": True, "cursor": "e:8"}))
            await ws.send_json(self._message("live", {"id": "main", "cursor": "e:8"}))
            for message in self.after_live:
                await ws.send_json(message)
        return ws

    def _message(self, kind: str, data: dict[str, Any], seq: int | None = None) -> dict[str, Any]:
        return {"type": kind, "timestamp": "2026-01-02T03:04:05.000Z", "seq": seq, "ch": 1, "data": data}

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class StandIn:
    """A command's context as far as ``follow_jobs`` uses it."""

    def __init__(self, url: str) -> None:
        self._endpoint = Endpoint(url=url, token="good", origin="test")
        self._client = Client(self._endpoint, timeout_s=5)

    def endpoint(self) -> Endpoint:
        return self._endpoint

    def endpoint_now(self) -> Endpoint:
        return self._endpoint

    def client(self) -> Client:
        return self._client


@pytest.fixture
def served():
    server = Served()
    yield server
    server.close()


@pytest.fixture
def follow(served, monkeypatch):
    monkeypatch.setattr("etlmon.commands.following.AGAIN_S", 0.01)
    context = StandIn(served.url)

    async def until_failed() -> list[str]:
        seen = []
        async with asyncio.timeout(10), aclosing(follow_jobs(context, ["j1"])) as items:
            async for item in items:
                if isinstance(item, dict):
                    seen.append(item["status"])
                    if item["status"] == "failed":
                        break
        return seen

    yield until_failed
    context.client().close()


async def test_a_change_between_the_first_reading_and_the_place_of_the_stream_is_found(served, follow):
    served.answers = [(200, RUNNING), (200, FAILED)]
    assert await follow() == ["running", "failed"]


async def test_a_reading_that_fails_is_tried_again(served, follow):
    away = (503, {"detail": "The store cannot commit now.", "status": 503})
    served.answers = [(200, RUNNING), away, away, (200, FAILED)]
    assert await follow() == ["running", "failed"]


async def test_a_message_is_merged_into_what_is_known_of_the_job(served, follow):
    served.answers = [(200, RUNNING)]
    old = {"jobId": "j1", "status": "completed"}
    served.after_live = [
        served._message("job_status_update", old, 4),
        served._message("job_status_update", {"jobId": "other", "status": "failed"}, 9),
        served._message("job_progress", {"jobId": "j1", "status": "paused"}, 10),
        served._message("job_status_update", {"jobId": "j1", "status": "failed"}, 11),
    ]
    assert await follow() == ["running", "paused", "failed"]


async def test_after_a_gap_the_job_is_read_again(served, follow):
    served.answers = [(200, RUNNING), (200, RUNNING), (200, FAILED)]
    served.after_live = [served._message("gap", {"dropped": 3, "from": "e:8", "to": "e:11"}, 11)]
    assert await follow() == ["running", "failed"]
