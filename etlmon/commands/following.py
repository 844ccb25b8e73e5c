"""Jobs followed live by id: their state at first, then after every change; across restarts and without a socket too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from etlmon.client.rest import AWAY
from etlmon.commands.job_columns import is_final

if TYPE_CHECKING:
    from etlmon.client.live import Link
    from etlmon.commands.context import Context

Job = dict[str, Any]

AGAIN_S = 1.0
"""How long after a reading that failed the next is tried."""


async def follow_jobs(context: Context, ids: Sequence[str]) -> AsyncGenerator[Job | Link, None]:
    """Each job as it stands, then each change of any of them (the whole job as far as known), and how the link stands.

    When what was missed cannot be told, every job that has not ended is read again, so the last state always comes.
    """
    from etlmon.client.live import Link, LinkState, Live, Message, Reset, position
    from etlmon.core.protocol import Wanted

    client, where = context.client(), context.endpoint_now
    held: dict[str, Job] = {job_id: client.get(f"/api/jobs/{job_id}") for job_id in ids}
    for job in held.values():
        yield job
    if all(is_final(job) for job in held.values()):
        return
    here = await position(where)
    live = Live(where, Wanted(topics="jobs", job_ids=list(ids)), since=here.format() if here else None)
    stale = True  # what changed between the reading above and ``here``
    async with aclosing(aiter(live)) as items:
        async for item in items:
            if isinstance(item, Link):
                yield item
            elif isinstance(item, Message) and (changed := _merged(held, item)) is not None:
                yield changed
            if isinstance(item, Reset) or (isinstance(item, Message) and item.type in ("gap", "snapshot")):
                stale = True
            while stale and live.state in (LinkState.LIVE, LinkState.POLLING):
                changed_jobs, stale = await asyncio.to_thread(_read_again, client, held)
                for job in changed_jobs:
                    yield job
                if stale:
                    await asyncio.sleep(AGAIN_S)


def _merged(held: dict[str, Job], message: Any) -> Job | None:
    """The job after a message about it; None for messages that change nothing known."""
    job_id = message.data.get("jobId")
    before = held.get(job_id)
    if before is None or message.type not in ("job_status_update", "job_progress"):
        return None
    if message.seq is not None and message.seq <= before.get("seq", 0):
        return None
    news = {key: value for key, value in message.data.items() if key not in ("jobId", "previousStatus", "errorMessage")}
    after = {**before, **news, "seq": message.seq if message.seq is not None else before.get("seq", 0)}
    if is_final(after) and after.get("finishedAt") is None:
        after["finishedAt"] = after.get("updatedAt")
    held[job_id] = after
    return after


def _read_again(client: Any, held: dict[str, Job]) -> tuple[list[Job], bool]:
    """Read the jobs that have not ended anew: those that changed, and whether some could not be read."""
    changed, unread = [], False
    for job_id, before in list(held.items()):
        if is_final(before):
            continue
        try:
            now = client.get(f"/api/jobs/{job_id}")
        except AWAY:
            unread = True
            continue
        held[job_id] = now
        if now["seq"] != before.get("seq"):
            changed.append(now)
    return changed, unread
