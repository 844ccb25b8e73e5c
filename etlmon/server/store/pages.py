"""Pages of jobs by keyset: what is asked, and the statements that answer it. Nothing here touches a connection.

A page is read from lanes: runs of an index that are already in the order asked for, merged. Where no index has both
the filter and the order, a rare value is gathered and sorted, and otherwise the order's index is walked.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from etlmon.core.errors import Invalid
from etlmon.core.filter_keys import Age, Glob
from etlmon.core.filter_tree import All, And, Node, Term, both, canonical
from etlmon.core.job import Status
from etlmon.core.text import hint
from etlmon.server.store.cursors import read_cursor
from etlmon.server.store.filter_sql import DURATION, Where, joined, where

T = TypeVar("T")
RARE = 5_000
"""Up to so many rows are gathered and sorted faster than any index in the wrong order is walked (both under 10 ms)."""
END = 2**62
"""Later than every instant."""
MAX_LANES = 16
SLICE = 20_000
"""Index entries that one step of a long walk may pass."""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Some items in order. ``next_cursor`` is None at the end; a page may be short and yet have a next one."""

    items: list[T]
    next_cursor: str | None


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs, in which order. ``since``/``until`` bound the last change; ``reporter`` is a token's id."""

    filter: Node = msgspec.field(default_factory=All)
    since: int | None = None
    until: int | None = None
    sort: str = "-createdAt"
    limit: int = 50
    cursor: str | None = None
    final_only: bool = False
    reporter: str | None = None


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the query's own instants, and the last row's rank, order values and key."""

    now: int
    since: int | None
    until: int | None
    rank: int
    values: tuple[str | int | float, ...]
    key: int


class Order(msgspec.Struct, frozen=True):
    """One sort key: its columns, and the index that has them in order."""

    columns: tuple[str, ...]
    index: str
    nullable: bool = False


ORDERS = {
    "createdAt": Order(("created_at",), "job_by_created"),
    "startedAt": Order(("started_at",), "job_by_started", nullable=True),
    "finishedAt": Order(("finished_at",), "job_by_finished", nullable=True),
    "updatedAt": Order(("updated_at",), "job_by_updated"),
    "duration": Order(("duration_ms",), "job_by_duration", nullable=True),
    "name": Order(("name", "created_at"), "job_of_name"),
    "status": Order(("status", "created_at"), "job_of_status"),
    "priority": Order(("priority", "created_at"), "job_by_priority"),
    "progress": Order(("progress", "created_at"), "job_by_progress", nullable=True),
}
"""Every sort key of interface.md. Jobs without a value come last in either direction."""

OF = {name: f"job_of_{name}" for name in ("name", "owner", "type", "host", "source", "reporter", "status")}
"""Columns whose index holds their jobs by creation; the likely rarer first."""
RANGES = {f"{name}_at": f"job_by_{name}" for name in ("created", "started", "finished", "updated")}
"""Columns whose index answers a range."""
ENDED = {name: f"job_ended_{name}" for name in ("fingerprint", "name", "owner", "type", "status")}
"""Columns whose index holds their jobs by their end."""
GATHERED = {"id_reversed": "job_by_end_of_id", **ENDED, **OF, "name": "job_runs_of_name"}
"""The index of each column in which all rows of a value are found."""


class Lane(msgspec.Struct, frozen=True):
    """A run of rows in the order asked for. ``values`` are the order's expressions, ``key`` the last tie-break.

    ``rest`` is what is still asked of its rows; None: all that the query asks.
    """

    source: str
    condition: Where
    values: tuple[str, ...]
    key: str = "job.key"
    sorted: bool = True
    rest: Where | None = None


class Driver(msgspec.Struct, frozen=True):
    """A condition that an index answers: one of ``values``; of a column in RANGES, between its two values."""

    column: str
    values: tuple[Any, ...]
    tag: str | None = None
    term: Term | None = None

    def all_of_it(self) -> tuple[str, Where]:
        """Where to find all its rows, in any order."""
        marks = ", ".join("?" * len(self.values))
        if self.column == "tag":
            condition = Where(f"t.tag = ? AND t.value IN ({marks})", (self.tag, *self.values))
            return "job_tag t CROSS JOIN job ON job.key = t.key", condition
        if self.column in RANGES:
            return f"job INDEXED BY {RANGES[self.column]}", Where(f"job.{self.column} BETWEEN ? AND ?", self.values)
        return f"job INDEXED BY {GATHERED[self.column]}", Where(f"job.{self.column} IN ({marks})", self.values)

    def counted(self) -> tuple[str, Where]:
        """As ``all_of_it``, for counting: without a look at the jobs of a tag."""
        if self.column == "tag":
            marks = ", ".join("?" * len(self.values))
            return "job_tag t", Where(f"t.tag = ? AND t.value IN ({marks})", (self.tag, *self.values))
        return self.all_of_it()


class Plan:
    """The statements of one page. ``place`` is where the page before ended."""

    def __init__(self, query: JobQuery, now: int) -> None:
        self.name, self.descending = query.sort.removeprefix("-"), query.sort.startswith("-")
        order = ORDERS.get(self.name)
        if order is None:
            raise Invalid(f"'{self.name}' is not a sort key{hint(self.name, ORDERS)}: use one of {', '.join(ORDERS)}.")
        self.order = order
        self.limit = query.limit
        self.signature = _signature(query)
        self.place = None if query.cursor is None else read_cursor(self.signature, query.cursor, Place)
        self.now = now if self.place is None else self.place.now
        self.since = query.since if self.place is None else self.place.since
        self.until = query.until if self.place is None else self.place.until
        self._query = query
        self.where = self._where(query.filter)
        self.drivers = self._drivers(query)

    def _where(self, node: Node) -> Where:
        query, parts = self._query, [where(node, self.now)]
        if self.since is not None:
            parts.append(Where("job.updated_at >= ?", (self.since,)))
        if self.until is not None:
            # Nothing is created after its last change: the second bound lets indexes by creation begin there.
            parts.append(Where("job.updated_at <= ? AND job.created_at <= ?", (self.until, self.until)))
        if query.final_only:
            parts.append(Where("job.final = 1"))
        if query.reporter is not None:
            parts.append(Where("job.reporter = ?", (query.reporter,)))
        return joined(" AND ", parts)

    def _drivers(self, query: JobQuery) -> list[Driver]:
        terms = [node for node in _conjuncts(query.filter) if isinstance(node, Term)]
        drivers = [driver for term in terms if (driver := _driver(term, self.now)) is not None]
        if query.reporter is not None:
            drivers.append(Driver("reporter", (query.reporter,)))
        if self.since is not None or self.until is not None:
            drivers.append(Driver("updated_at", (self.since or 0, END if self.until is None else self.until)))
        return drivers

    def _rest(self, driver: Driver) -> Where:
        """What is left to ask of rows that the driver gave."""
        return self._where(both(*(node for node in _conjuncts(self._query.filter) if node is not driver.term)))

    def ranks(self) -> range:
        """0 for jobs that have the order's value, 1 for those without; those before the place are done."""
        return range(0 if self.place is None else self.place.rank, 2 if self.order.nullable else 1)

    def is_ordered(self, driver: Driver) -> bool:
        """Whether the driver's index is in the order asked for."""
        if self.name == "createdAt":
            return driver.column in OF or driver.column == "tag"
        return self.name == "finishedAt" and driver.column in ENDED

    def counts(self) -> Where:
        """One row: for each driver how many rows it has, up to RARE + 1."""
        parts = []
        for driver in self.drivers:
            source, condition = driver.counted()
            sql = f"(SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {condition.sql} LIMIT {RARE + 1}))"  # noqa: S608
            parts.append(Where(sql, condition.parameters))
        return Where(f"SELECT {', '.join(p.sql for p in parts)}", tuple(v for p in parts for v in p.parameters))

    def walk(self, rank: int) -> list[Lane]:
        """The order's own index: all its rows, in the lanes that it has them in."""
        source = f"job INDEXED BY {self.order.index}"
        columns = tuple(f"job.{column}" for column in self.order.columns)
        if self.name == "duration":
            return self._walk_durations(rank, source)
        if self.name == "progress":
            return [self._of_status(status, rank, source) for status in self._statuses()]
        if rank == 1:
            return [Lane(source, Where(f"{columns[0]} IS NULL"), ())]
        return [Lane(source, Where(f"{columns[0]} IS NOT NULL" if self.order.nullable else "1"), columns)]

    def _walk_durations(self, rank: int, source: str) -> list[Lane]:
        """Jobs that are over have theirs in the index; of those under way it grows, and they are few."""
        if rank == 1:
            idle = "job.duration_ms IS NULL AND NOT (job.final = 0 AND job.started_at IS NOT NULL)"
            return [Lane(source, Where(idle), ())]
        over = Lane(source, Where("job.duration_ms IS NOT NULL"), ("job.duration_ms",))
        active = Where("job.final = 0 AND job.started_at IS NOT NULL AND job.duration_ms IS NULL")
        growing = DURATION.format(now=int(self.now)).strip()
        return [over, Lane("job INDEXED BY job_active", active, (growing,), sorted=False)]

    def _statuses(self) -> tuple[Any, ...]:
        """Which the filter lets through, as far as it says so plainly."""
        return next((driver.values for driver in self.drivers if driver.column == "status"), tuple(Status))

    def _of_status(self, status: Any, rank: int, source: str) -> Lane:
        absent = "IS NULL" if rank else "IS NOT NULL"
        values = ("job.created_at",) if rank else ("job.progress", "job.created_at")
        return Lane(source, Where(f"job.status = ? AND job.progress {absent}", (str(status),)), values)

    def lanes(self, rank: int, driver: Driver | None, *, rare: bool) -> list[Lane]:
        """The quickest lanes: of the driver where its index has the order, of a rare driver sorted, or the walk."""
        if driver is None:
            return self.walk(rank)
        if self.is_ordered(driver) and rank == 0 and len(driver.values) <= MAX_LANES:
            return [self._lane_of(driver, value) for value in driver.values]
        if not rare:
            return self.walk(rank)
        return self._gathered(driver, rank)

    def _gathered(self, driver: Driver, rank: int) -> list[Lane]:
        """All the rows of a rare driver, to be sorted."""
        source, condition = driver.all_of_it()
        rest = self._rest(driver)
        if self.name == "duration":
            over, *growing = self._walk_durations(rank, source)
            condition = joined(" AND ", [condition, over.condition])
            return [Lane(source, condition, over.values, sorted=False, rest=rest), *growing]
        first, *others = (f"job.{column}" for column in self.order.columns)
        if self.order.nullable:
            condition = joined(" AND ", [condition, Where(f"{first} IS {'NULL' if rank else 'NOT NULL'}")])
        values = tuple(others) if rank else (first, *others)
        return [Lane(source, condition, values, sorted=False, rest=rest)]

    def _lane_of(self, driver: Driver, value: Any) -> Lane:
        if driver.column == "tag":
            source = "job_tag t CROSS JOIN job ON job.key = t.key"
            condition = Where("t.tag = ? AND t.value = ?", (driver.tag, value))
            return Lane(source, condition, ("t.created_at",), "t.key", rest=self._rest(driver))
        index = OF[driver.column] if self.name == "createdAt" else ENDED[driver.column]
        ended = " AND job.finished_at IS NOT NULL" if self.name == "finishedAt" else ""
        condition = Where(f"job.{driver.column} = ?{ended}", (value,))
        values = (f"job.{self.order.columns[0]}",)
        return Lane(f"job INDEXED BY {index}", condition, values, rest=self._rest(driver))

    def statement(self, rank: int, lanes: list[Lane], limit: int, start: Place | None, end: Place | None) -> Where:
        """Rows of (order values…, key, body), after ``start`` and not beyond ``end``."""
        parts = [self._lane_sql(rank, lane, limit, start, end) for lane in lanes]
        n_values = len(lanes[0].values)
        names = [f"v{n}" for n in range(n_values)]
        page = " UNION ALL ".join(f"SELECT * FROM ({part.sql})" for part in parts)  # noqa: S608
        collate = {"v0": " COLLATE NOCASE"} if self.name == "name" else {}
        order = ", ".join(f"{name}{collate.get(name, '')}{self._way}" for name in (*names, "k"))
        sql = (
            f"SELECT {''.join(f'{name}, ' for name in names)}k, (SELECT body FROM job_body b WHERE b.key = k) "  # noqa: S608
            f"FROM ({page}) ORDER BY {order} LIMIT {limit}"
        )
        return Where(sql, tuple(value for part in parts for value in part.parameters))

    def _lane_sql(self, rank: int, lane: Lane, limit: int, start: Place | None, end: Place | None) -> Where:
        bounds = [lane.condition, self.where if lane.rest is None else lane.rest]
        if start is not None and start.rank == rank:
            bounds.append(self._beyond(lane, start, "<" if self.descending else ">"))
        if end is not None:
            bounds.append(self._beyond(lane, end, ">=" if self.descending else "<="))
        condition = joined(" AND ", bounds)
        named = "".join(f"{value} AS v{n}, " for n, value in enumerate(lane.values))
        return Where(
            f"SELECT {named}{lane.key} AS k FROM {lane.source} WHERE {condition.sql} "  # noqa: S608
            f"ORDER BY {self._order_of(lane)} LIMIT {limit}",
            condition.parameters,
        )

    def boundary(self, rank: int, lane: Lane, start: Place | None) -> Where:
        """The order values and key of the row that lies SLICE entries further on the lane, filter or not."""
        bounds = [lane.condition]
        if start is not None and start.rank == rank:
            bounds.append(self._beyond(lane, start, "<" if self.descending else ">"))
        condition = joined(" AND ", bounds)
        named = "".join(f"{value}, " for value in lane.values)
        return Where(
            f"SELECT {named}{lane.key} FROM {lane.source} WHERE {condition.sql} "  # noqa: S608
            f"ORDER BY {self._order_of(lane)} LIMIT 1 OFFSET {SLICE - 1}",
            condition.parameters,
        )

    @property
    def _way(self) -> str:
        return " DESC" if self.descending else ""

    def _order_of(self, lane: Lane) -> str:
        """A lane that is gathered must not be walked in the order of some other index: ``+`` hides the columns."""
        terms = (*lane.values, lane.key) if lane.sorted else (f"+({value})" for value in (*lane.values, lane.key))
        return ", ".join(f"{term}{self._way}" for term in terms)

    def _beyond(self, lane: Lane, place: Place, compare: str) -> Where:
        left = ", ".join((*lane.values, lane.key))
        marks = ", ".join("?" * (len(lane.values) + 1))
        return Where(f"({left}) {compare} ({marks})", (*place.values, place.key))

    def place_of(self, rank: int, values: tuple[Any, ...], key: int) -> Place:
        """Where a page that ends with this row ends."""
        return Place(self.now, self.since, self.until, rank, values, key)


def _conjuncts(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, And) else (node,)


def _driver(term: Term, now: int) -> Driver | None:
    """The driver that a term is; None when no index answers it."""
    if f"{term.key}_at" in RANGES:
        return _range(term, now)
    if term.op != ":" or not (term.key in OF or term.key in ("id", "fingerprint") or term.tag is not None):
        return None
    values = tuple(value.literal if isinstance(value, Glob) else value for value in term.values)
    if any(value is None for value in values):
        return None
    if term.tag is not None:
        return Driver("tag", values, term.tag, term)
    if term.key == "id":
        return Driver("id_reversed", tuple(str(value)[::-1] for value in values), term=term)
    return Driver(term.key, values, term=term)


def _range(term: Term, now: int) -> Driver:
    """Both ends are taken in, so the term itself is still to be asked."""
    limit, op = term.values[0], term.op
    if isinstance(limit, Age):
        limit, op = now - limit.ms, {">": "<", "<": ">", ">=": "<=", "<=": ">="}[op]
    return Driver(f"{term.key}_at", (limit, END) if op.startswith(">") else (0, limit))


def _signature(query: JobQuery) -> str:
    """What a cursor is bound to: everything but the page's size and the instants, which the cursor itself carries."""
    bounds = (query.since is not None, query.until is not None, query.final_only, query.reporter)
    return f"jobs\0{canonical(query.filter)}\0{query.sort}\0{bounds!r}"
