"""Finished jobs: the same list and filters, and all that match as NDJSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
from msgspec.structs import replace

from etlmon.core.access import EVERYONE
from etlmon.core.views import view
from etlmon.server.api.filtering import JobParams, job_query
from etlmon.server.api.jobs import JobList
from etlmon.server.api.routes import NDJSON, Call, Route, stream

EXPORT_PAGE = 500

_encoder = msgspec.json.Encoder()


async def list_history(call: Call) -> JobList:
    """Finished jobs under the filters."""
    query = job_query(call.query, call.identity, call.received_at, final_only=True)
    page = await call.context.store.jobs_page(query, call.received_at)
    now = call.context.now()
    return JobList(items=[view(job, now) for job in page.items], next_cursor=page.next_cursor)


async def export_history(call: Call) -> object:
    """Every finished job that matches, one JSON object per line."""
    return await stream(call, _pages(call), NDJSON)


async def _pages(call: Call) -> AsyncGenerator[bytes, None]:
    query = job_query(call.query, call.identity, call.received_at, final_only=True)
    query = replace(query, limit=EXPORT_PAGE)
    while True:
        page = await call.context.store.jobs_page(query, call.received_at)
        now = call.context.now()
        yield _encoder.encode_lines([view(job, now) for job in page.items])
        if page.next_cursor is None or call.context.stopping.is_set():
            return
        query = replace(query, cursor=page.next_cursor)


ROUTES = (
    Route(
        method="GET",
        path="/api/history",
        aliases=("/status/jobs/history",),
        handler=list_history,
        roles=EVERYONE,
        summary="Finished jobs under filters",
        query=JobParams,
        answer=JobList,
        tag="history",
    ),
    Route(
        method="GET",
        path="/api/history/export",
        handler=export_history,
        roles=EVERYONE,
        summary="Finished jobs as NDJSON",
        query=JobParams,
        media=NDJSON,
        deadline_s=None,
        tag="history",
    ),
)
