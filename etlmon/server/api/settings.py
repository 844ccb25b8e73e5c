"""The effective settings, and where each came from. Secrets are shown as references, never as what they hold."""

from __future__ import annotations

from typing import Any

from etlmon.core.access import READERS
from etlmon.core.config_show import effective
from etlmon.core.job import Record
from etlmon.server.api.routes import Call, Route


class SettingView(Record, frozen=True):
    """One setting: ``origin`` is ``file``, ``default``, or the flag that set it."""

    path: str
    value: Any
    origin: str
    unit: str
    restart_needed: bool


class SettingList(Record, frozen=True):
    """Every setting; ``file`` is the config file that was read, null when there is none."""

    file: str | None
    items: list[SettingView]
    next_cursor: str | None = None


async def get_config(call: Call) -> SettingList:
    """Every setting as it holds now."""
    context = call.context
    given = frozenset(path for path, origin in context.origins.items() if origin == "file")
    items = [
        SettingView(
            path=setting.path,
            value=setting.value,
            origin=context.origins.get(setting.path, setting.origin),
            unit=setting.unit,
            restart_needed=setting.restart,
        )
        for setting in effective(context.config, given)
    ]
    return SettingList(file=None if context.config_file is None else str(context.config_file), items=items)


ROUTES = (
    Route(
        method="GET",
        path="/api/monitor/config",
        handler=get_config,
        roles=READERS,
        summary="The effective settings",
        answer=SettingList,
        tag="system",
    ),
)
