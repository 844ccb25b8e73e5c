"""A paused queue is told on the live stream, and again to whoever resumes it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientSession

Desk = Any


async def until(socket: Any, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    async with asyncio.timeout(20):
        while (message := await socket.receive_json())["type"] != kind:
            pass
    return message


async def test_a_pause_and_its_end_are_told_live_and_to_those_who_come_back(desk: Desk) -> None:
    server = desk.server
    headers = {"Authorization": f"Bearer {server.token}"}
    async with ClientSession(headers=headers) as session:
        async with session.ws_connect(f"{server.url}/ws?topics=queue") as socket:
            cursor = (await until(socket, "live"))["data"]["cursor"]
            await asyncio.to_thread(server.api, "PUT", "/api/queue/pause", {"reason": "the warehouse is down"})
            told = await until(socket, "queue_update")
            assert told["data"] == {
                "queue": "*", "paused": True, "by": "admin.token", "reason": "the warehouse is down",
            }  # fmt: skip
            await asyncio.to_thread(server.api, "PUT", "/api/queue/pause")  # it is paused already: nothing to tell
            await asyncio.to_thread(server.api, "PUT", "/api/queue/resume")
            again = await until(socket, "queue_update")
            assert (again["data"]["paused"], again["seq"]) == (False, told["seq"] + 1)
        async with session.ws_connect(f"{server.url}/ws?topics=queue&since={cursor}") as socket:
            missed = [await until(socket, "queue_update") for _ in range(2)]
    assert [message["data"]["paused"] for message in missed] == [True, False]
