"""Copying jobs: their ids a line each, or all that the server knows of them as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core import errors
from etlmon.core.text import shown

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.tui.app import Console

MOST_BYTES = 74_994
"""What terminals take at once through OSC 52."""
MOST_WHOLE = 200
"""Jobs that are read whole at once."""


def copy_jobs(console: Console, ids: Sequence[str], what: str) -> None:
    """Copy ids (``id``) or whole jobs (``json``) to the clipboard, and say so."""
    if not ids:
        return
    if what == "json":
        console.run_worker(_copy_json(console, list(ids)), name="copy", exit_on_error=False)
        return
    name = console.name_of(ids[0]) or "the job"
    title, line = (f"Copied the id of {name}", ids[0]) if len(ids) == 1 else (f"Copied {len(ids):,} ids", "one a line")
    _copy(console, "\n".join(ids), title, line)


async def _copy_json(console: Console, ids: list[str]) -> None:
    if len(ids) > MOST_WHOLE:
        console.toast(f"{len(ids):,} jobs are too many to copy", f"At most {MOST_WHOLE}: mark fewer.", "warn")
        return

    def read(client: Client) -> list[dict[str, Any]]:
        return [client.get(f"/api/jobs/{job_id}") for job_id in ids]

    try:
        jobs = await console.rest.ask(read)
    except errors.EtlmonError as fault:
        console.toast("Nothing was copied", shown(fault.detail), "fail")
        return
    text = as_json(jobs)
    size = f"{len(text.encode()):,} bytes of JSON"
    told = f"Copied {shown(str(jobs[0].get('name')))}" if len(jobs) == 1 else f"Copied {len(jobs):,} jobs"
    _copy(console, text, told, size)


def as_json(jobs: Sequence[dict[str, Any]]) -> str:
    """One job as an object, several as a list, indented."""
    value = jobs[0] if len(jobs) == 1 else list(jobs)
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _copy(console: Console, text: str, title: str, line: str) -> None:
    if len(text.encode()) * 4 // 3 > MOST_BYTES:
        console.toast("That is more than a terminal's clipboard takes", "Use `etlmon jobs show --json ID`.", "warn")
        return
    console.copy_to_clipboard(text)
    console.toast(title, line, "ok")
