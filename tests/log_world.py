"""What tests of the log room share: an app around the pane, lines to fill a store with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo

import pytest
from textual.app import App, ComposeResult

from etlmon.host.endpoint import Endpoint
from etlmon.tui.drawing.palette import DARK, THEMES, Palette
from etlmon.tui.logs.entry import Entry
from etlmon.tui.rest import Rest
from etlmon.tui.widgets.logs_pane import LogsPane

BEGAN = 1_700_000_000_000


def make_entry(seq: int, message: str = "", level: int = 20, lane: int = 0, at: int | None = None) -> Entry:
    """A line."""
    return Entry(seq, BEGAN + seq if at is None else at, level, lane, message or f"line {seq}")


def make_line(
    seq: int, message: str = "", level: str = "info", job_id: str = "j1", **more: object
) -> dict[str, object]:
    """A LogEntry as the server tells it."""
    return {
        "seq": seq,
        "jobId": job_id,
        "name": "orders_nightly",
        "at": "2026-01-02T03:02:02.123Z",
        "level": level,
        "message": message or f"line {seq}",
        "logger": None,
        "step": None,
        "fields": None,
        "attempt": 1,
    } | more


async def until(holds: Callable[[], object], what: str | Callable[[], str], deadline_s: float = 30.0) -> None:
    """Wait for a fact without holding up the loop; the test fails with ``what`` (asked then) when it never comes."""
    end = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s:.0f} s in vain: {what() if callable(what) else what}")
        await asyncio.sleep(0.01)


class LogApp(App[None]):
    """An app that has what the pane asks of the console."""

    def __init__(
        self,
        find: Callable[[], Endpoint],
        job_ids: tuple[str, ...] = (),
        names: Mapping[str, str] | None = None,
        *,
        single: bool = False,
        zone: tzinfo | None = UTC,
    ) -> None:
        super().__init__()
        self.find_endpoint = find
        self.rest = Rest(find)
        self.zone = zone
        self.ascii = False
        self._palette: Palette | None = None
        self.toasts: list[tuple[str, str, str]] = []
        self.pane = LogsPane(job_ids=job_ids, names=names, single=single)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    @property
    def palette(self) -> Palette:
        """The colours."""
        if self._palette is None:
            self._palette = Palette(self.theme_variables, dark=self.current_theme.dark, ansi=self.native_ansi_color)
        return self._palette

    def set_theme(self, name: str) -> None:
        """Other colours."""
        self._palette = None
        self.theme = name

    def now(self) -> int:
        """This machine's instant."""
        return time.time_ns() // 1_000_000

    def toast(self, title: str, line: str = "", role: str = "text") -> None:
        """Remember what was told."""
        self.toasts.append((title, line, role))

    def compose(self) -> ComposeResult:
        """The pane alone."""
        yield self.pane

    def on_mount(self) -> None:
        """Its keys."""
        self.pane.view.focus()

    def on_unmount(self) -> None:
        """Let the connection go."""
        self.rest.close()

    def screen_text(self) -> list[str]:
        """What the terminal shows, row by row."""
        return ["".join(segment.text for segment in strip) for strip in self.screen._compositor.render_strips()]
