"""Log lines: of one job or of all, searched, tailed, streamed whole, and followed live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace

from etlmon.core.access import EVERYONE, Identity, Role
from etlmon.core.errors import Fault, Invalid
from etlmon.core.filters import All, Node, both, parse
from etlmon.core.job import LogLine, Record, parse_level
from etlmon.core.text import sentence
from etlmon.core.views import LogEntry, log_entry
from etlmon.server.api.filtering import FilterParams, Limit, filter_node, instant_param
from etlmon.server.api.routes import NDJSON, Call, Route, stream
from etlmon.server.store.logs.query import LogQuery
from etlmon.server.store.pages import JobQuery

PAGE = 1000
DEADLINE_S = 10.0
"""What one page may take; a stream takes as long as its reader."""
IDLE_CHECK_S = 5.0
"""How often a quiet follow looks whether its peer is still there."""
GATHER_S = 0.05
"""What a follow waits after the bell, so that a busy job is read in pages and not line by line."""
MAX_JOBS_IN_SEARCH = 10_000

_encoder = msgspec.json.Encoder()


class LogPage(Record, frozen=True):
    """A page of log lines."""

    items: list[LogEntry]
    next_cursor: str | None


class LogParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines: ``level`` and above, ``q`` words, ``contains`` a substring, ``regex`` in RE2's syntax; by time.

    ``tail`` takes the last N; ``stream`` sends all matches as NDJSON; ``follow`` goes on with what comes.
    """

    level: str | None = None
    contains: str | None = None
    regex: str | None = None
    q: str | None = None
    since: str | None = None
    until: str | None = None
    limit: Limit = 100
    cursor: str | None = None
    order: Literal["asc", "desc"] = "asc"
    tail: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    stream: bool = False
    follow: bool = False


class AllLogParams(LogParams, frozen=True, kw_only=True):
    """The same over every job's lines, with the job filters, and ``jobs`` for the filter grammar."""

    status: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    jobs: str | None = None


def log_query(params: LogParams, job_ids: frozenset[str] | None, now: int) -> LogQuery:
    """The store's question. Invalid for a level, time or pattern that makes no sense."""
    level = None
    if params.level:
        try:
            level = parse_level(params.level)
        except ValueError as fault:
            raise Invalid(sentence(f"level: {fault}"), errors=(Fault("level", str(fault)),)) from None
    return LogQuery(
        job_ids=job_ids,
        level=level,
        words=params.q or None,
        contains=params.contains or None,
        regex=params.regex or None,
        since=instant_param("since", params.since, now),
        until=instant_param("until", params.until, now),
        limit=params.limit,
        descending=params.order == "desc",
    )


class Search:
    """One request's search: whose lines, and how they are read. ``job_id`` is None for all jobs' logs."""

    def __init__(self, call: Call, job_id: str | None) -> None:
        self.call = call
        self.params: LogParams = call.query
        self.job_id = job_id
        self.store = call.context.store
        self.base = log_query(self.params, None if job_id is None else frozenset({job_id}), call.received_at)
        self.filter = All() if job_id is not None else _job_filter(self.params, call.received_at)

    def resumed(self) -> LogQuery:
        """The query, from the request's cursor on when it has one."""
        cursor = self.params.cursor
        return self.base.resumed(cursor) if cursor else self.base

    async def scoped(self, query: LogQuery) -> LogQuery:
        """The query narrowed to the jobs that the filters and the token allow now."""
        if self.job_id is not None or (isinstance(self.filter, All) and not _is_reporter(self.call.identity)):
            return query
        return replace(query, job_ids=await self._job_ids())

    async def _job_ids(self) -> frozenset[str]:
        found: list[str] = []
        identity = self.call.identity
        query = JobQuery(
            filter=self.filter,
            sort="-createdAt",
            limit=PAGE,
            reporter=identity.token_id if _is_reporter(identity) else None,
        )
        while True:
            page = await self.store.jobs_page(query, self.call.received_at)
            found += [job.id for job in page.items]
            if page.next_cursor is None:
                return frozenset(found)
            if len(found) >= MAX_JOBS_IN_SEARCH:
                raise Invalid(f"The job filters match more than {MAX_JOBS_IN_SEARCH} jobs: narrow them.")
            query = replace(query, cursor=page.next_cursor)

    async def page(self) -> LogPage:
        """One page, or the last ``tail`` lines."""
        if self.params.tail is not None:
            if self.params.tail > PAGE:
                raise Invalid(f"tail: at most {PAGE} without stream=true.", errors=(Fault("tail", f"at most {PAGE}"),))
            lines = await self.tail(self.params.tail, self.store.head)
            return LogPage(items=[log_entry(line) for line in lines], next_cursor=None)
        query = await self.scoped(self.resumed())
        page = await self.store.logs.read(query, self.store.head)
        return LogPage(items=[log_entry(line) for line in page.lines], next_cursor=page.next)

    async def tail(self, n: int, head: int) -> list[LogLine]:
        """The last ``n`` matches, oldest first."""
        query = replace(await self.scoped(self.base), descending=True)
        found: list[LogLine] = []
        while len(found) < n:
            page = await self.store.logs.read(replace(query, limit=min(PAGE, n - len(found))), head)
            found += page.lines
            if page.next is None:
                break
            query = query.resumed(page.next)
        return found[::-1]

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Every match as NDJSON pages; with ``follow``, then what is committed after, each line once and in order."""
        params, context = self.params, self.call.context
        if params.follow and params.order == "desc":
            raise Invalid("follow goes forward: leave order=desc away.", errors=(Fault("follow", "needs order=asc"),))
        with context.follows.open(self.job_id) as follow:  # before the first read: no commit falls between
            query = replace(self.resumed(), limit=PAGE)
            if params.tail is not None:
                head = self.store.head
                yield _ndjson(await self.tail(params.tail, head))
                query = _beyond(query, head)
                if not params.follow:
                    return
            while True:
                ended = not params.follow or await self._has_ended()
                head = self.store.head
                async for page in self._through(query, head):
                    yield page
                if ended or context.stopping.is_set() or self._peer_gone():
                    return
                query = _beyond(query, head)
                if await follow.rung(IDLE_CHECK_S):
                    await asyncio.sleep(GATHER_S)

    async def _through(self, query: LogQuery, head: int) -> AsyncIterator[bytes]:
        """Every match up to ``head``, page by page; the first page comes even when it is empty."""
        query = await self.scoped(query)
        while True:
            page = await self.store.logs.read(query, head)
            yield _ndjson(page.lines)
            if page.next is None:
                return
            query = query.resumed(page.next)

    async def _has_ended(self) -> bool:
        """Whether nothing more is to be expected: the job is final or gone (asked before its lines are read)."""
        if self.job_id is None:
            return False
        job = await self.store.job(self.job_id)
        return job is None or job.is_final

    def _peer_gone(self) -> bool:
        transport = self.call.request.transport
        return transport is None or transport.is_closing()


def _beyond(query: LogQuery, head: int) -> LogQuery:
    """The query for what comes after all that is committed up to ``head``."""
    return replace(query, after_seq=max(head, query.after_seq or 0))


def _is_reporter(identity: Identity) -> bool:
    return identity.role is Role.REPORTER


def _job_filter(params: LogParams, now: int) -> Node:
    if not isinstance(params, AllLogParams):
        return All()
    given = FilterParams(
        status=params.status,
        type=params.type,
        name=params.name,
        owner=params.owner,
        tag=params.tag,
        source=params.source,
        host=params.host,
    )
    return both(filter_node(given, now), parse(params.jobs, now) if params.jobs else All())


def _ndjson(lines: list[LogLine]) -> bytes:
    return _encoder.encode_lines([log_entry(line) for line in lines])


async def job_logs(call: Call) -> object:
    """A job's lines."""
    job = await call.job()
    return await _answer(call, Search(call, job.id))


async def all_logs(call: Call) -> object:
    """Every job's lines."""
    return await _answer(call, Search(call, None))


async def _answer(call: Call, search: Search) -> object:
    if call.query.stream or call.query.follow:
        return await stream(call, search.stream(), NDJSON)
    async with asyncio.timeout(DEADLINE_S):
        return await search.page()


ROUTES = (
    Route(
        method="GET",
        path="/api/jobs/{id}/logs",
        aliases=("/status/jobs/{id}/logs",),
        handler=job_logs,
        roles=EVERYONE,
        summary="A job's log lines",
        query=LogParams,
        answer=LogPage,
        deadline_s=None,
        tag="logs",
    ),
    Route(
        method="GET",
        path="/api/logs",
        handler=all_logs,
        roles=EVERYONE,
        summary="Search all jobs' log lines",
        query=AllLogParams,
        answer=LogPage,
        deadline_s=None,
        tag="logs",
    ),
)
