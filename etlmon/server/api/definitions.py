"""Definitions: what can be started by name, and what is expected."""

from __future__ import annotations

from typing import Any

from etlmon.core.access import READERS
from etlmon.core.config import Definition
from etlmon.core.job import Record
from etlmon.server.api.routes import Call, Route
from etlmon.server.submitting import COMMAND, shown_config


class DefinitionView(Record, frozen=True):
    """One ``[jobs.NAME]``. ``startable``: POST /api/jobs takes its name; ``start`` false: it is only expected."""

    name: str
    type: str | None
    startable: bool
    start: bool
    config: dict[str, Any] | None
    command: tuple[str, ...]
    steps: tuple[str, ...]
    owner: str | None
    tags: dict[str, str]
    priority: int
    expected_duration_ms: int | None
    timeout_ms: int | None
    retries: int
    schedule: str | None
    timezone: str
    grace_ms: int


class DefinitionList(Record, frozen=True):
    """Every definition, by name."""

    items: list[DefinitionView]
    next_cursor: str | None = None


async def list_definitions(call: Call) -> DefinitionList:
    """What can be started, and what is expected."""
    defined = call.context.config.jobs
    return DefinitionList(items=[_view(name, defined[name]) for name in sorted(defined)])


def _view(name: str, definition: Definition) -> DefinitionView:
    return DefinitionView(
        name=name,
        type=definition.type or (COMMAND if definition.command else None),
        startable=definition.start and bool(definition.command or definition.config is not None),
        start=definition.start,
        config=None if definition.config is None else shown_config(definition.config),
        command=definition.command,
        steps=definition.steps,
        owner=definition.owner,
        tags=definition.tags,
        priority=definition.priority,
        expected_duration_ms=definition.expected_duration,
        timeout_ms=definition.timeout,
        retries=definition.retries,
        schedule=definition.schedule,
        timezone=definition.timezone,
        grace_ms=definition.grace,
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/definitions",
        handler=list_definitions,
        roles=READERS,
        summary="What can be started or is expected",
        answer=DefinitionList,
        tag="queue",
    ),
)
