"""Reports in, commands out: the agents' side of the API."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import msgspec

from etlmon.core.access import REPORTERS
from etlmon.core.durations import parse_duration
from etlmon.core.errors import Fault, Invalid, NotFound
from etlmon.core.ids import is_job_id
from etlmon.core.job import Record
from etlmon.core.reports import Batch, CommandItem, Progress, Receipt
from etlmon.core.views import JobView, view
from etlmon.server.api.bodies import parse_json
from etlmon.server.api.routes import KIB, Call, Route

MAX_BATCH_BYTES = 8 * 1024 * KIB
MAX_WAIT_MS = 60_000


class CommandList(Record, frozen=True):
    """The commands that wait for a producer; repeated until a report names them."""

    items: list[CommandItem]


class CommandParams(msgspec.Struct, frozen=True, kw_only=True):
    """Whose commands, and how long to wait for one (``20s``)."""

    producer: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    wait: str = "20s"


async def post_reports(call: Call) -> Receipt:
    """Take a batch; the answer comes after the durable commit."""
    return await call.context.recorder.record(call.body, call.identity, call.received_at)


async def get_commands(call: Call) -> CommandList:
    """The open commands of a producer, as soon as there is one; an empty list when the wait is over."""
    try:
        wait_ms = parse_duration(call.query.wait) if call.query.wait not in ("", "0") else 0
    except ValueError as fault:
        raise Invalid(f"wait: {fault}.", errors=(Fault("wait", str(fault)),)) from None
    wait_s = min(wait_ms, MAX_WAIT_MS) / 1000
    polled = asyncio.ensure_future(call.context.recorder.commands(call.query.producer, wait_s, call.identity))
    stopped = asyncio.ensure_future(call.context.stopping.wait())
    try:
        await asyncio.wait({polled, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return CommandList(items=polled.result() if polled.done() else [])
    finally:
        for task in (polled, stopped):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopped


async def put_progress(call: Call) -> JobView:
    """One progress report, for those who have only curl."""
    if not isinstance(parse_json(call.body), dict):
        raise Invalid("The body must be a JSON object.")
    job_id = call.path["id"]
    known = await call.context.store.job(job_id) if is_job_id(job_id) else None
    if known is not None and not call.identity.may_report(known):
        raise NotFound(f"There is no job {job_id!r} here that this token may report on.")
    job = await call.context.recorder.progress(job_id, call.body, call.identity)
    return view(job, call.context.now())


ROUTES = (
    Route(
        method="POST",
        path="/api/reports",
        handler=post_reports,
        roles=REPORTERS,
        summary="Report on jobs",
        body=bytes,
        body_schema=Batch,
        answer=Receipt,
        body_limit=MAX_BATCH_BYTES,
        encodings=True,
        deadline_s=30.0,
        tag="agents",
    ),
    Route(
        method="GET",
        path="/api/commands",
        handler=get_commands,
        roles=REPORTERS,
        summary="Wait for commands",
        query=CommandParams,
        answer=CommandList,
        deadline_s=MAX_WAIT_MS / 1000 + 10,
        tag="agents",
    ),
    Route(
        method="PUT",
        path="/api/jobs/{id}/progress",
        aliases=("/status/jobs/{id}/progress",),
        handler=put_progress,
        roles=REPORTERS,
        summary="Report one job's progress",
        body=bytes,
        body_schema=Progress,
        answer=JobView,
        tag="agents",
    ),
)
