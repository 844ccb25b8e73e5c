"""The peer of the console's table: the same stream shown in Textual's DataTable, used as its docs say is fastest."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import Any

from textual.app import App, ComposeResult
from textual.widgets import DataTable

from etlmon.client.live import Live
from etlmon.client.polling import Message
from etlmon.core.protocol import Wanted
from etlmon.host.endpoint import find_endpoint

COLUMNS = ("status", "name", "progress", "rows", "rate", "step")


class Stock(App[None]):
    """A DataTable with fixed widths, flushed ten times a second."""

    def compose(self) -> ComposeResult:
        """The table alone."""
        yield DataTable(cursor_type="row")

    def on_mount(self) -> None:
        """Listen and flush."""
        self.dirty: dict[str, dict[str, Any]] = {}
        table = self.query_one(DataTable)
        for key in COLUMNS:
            table.add_column(key, key=key, width=14)
        self.run_worker(self.listen())
        self.set_interval(0.1, self.flush)

    async def listen(self) -> None:
        """The stream, for ever."""
        live = Live(lambda: find_endpoint(data_dir=sys.argv[1]), Wanted(topics="jobs"))
        async with aclosing(aiter(live)) as items:
            async for item in items:
                if isinstance(item, Message) and item.type == "snapshot":
                    self.dirty |= {job["id"]: job for job in item.data["jobs"]}
                elif isinstance(item, Message) and "jobId" in item.data:
                    self.dirty[item.data["jobId"]] = item.data

    def flush(self) -> None:
        """Rows that changed."""
        table, dirty = self.query_one(DataTable), self.dirty
        self.dirty = {}
        for job_id, job in dirty.items():
            metrics = job["metrics"]
            percent = f"{job['progressPercent'] or 0:.0f}%"
            moved = (percent, str(metrics["recordsProcessed"]), str(metrics["processingRate"]))
            percent = f"{job['progressPercent'] or 0:.0f}%"
            moved = (percent, str(metrics["recordsProcessed"]), str(metrics["processingRate"]))
            values = (job["status"], job["name"], *moved, job["currentStep"] or "")
            if job_id not in table.rows:
                table.add_row(*values, key=job_id)
                continue
            for key, value in zip(COLUMNS[2:5], moved, strict=True):
                table.update_cell(job_id, key, value)


if __name__ == "__main__":
    Stock().run()
