"""Which job a shortened id means: any beginning or end that only one job has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from etlmon.commands.context import Context
from etlmon.core.errors import EtlmonError, Fault, NotFound, Usage
from etlmon.core.ids import is_job_id
from etlmon.core.text import shown

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from etlmon.client.rest import Client

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PART = re.compile(r"[A-Za-z0-9._:-]{1,128}")
COMPLETE_S = 1.0
"""How long a shell is kept waiting for ids."""
SHOWN = 10
"""How many candidates an ambiguous id lists."""


def resolve(client: Client, part: str) -> str:
    """The id that ``part`` is, begins or ends. NotFound for none; Usage that lists the candidates for several."""
    if UUID.fullmatch(part):
        return part
    if not _PART.fullmatch(part):
        raise NotFound(f"No job has an id like {part[:80]!r}.")
    jobs = client.get("/api/jobs", {"q": f"id:{part}*,*{part}", "limit": SHOWN + 1})["items"]
    ids = [str(job["id"]) for job in jobs]
    if part in ids:
        return part
    if len(ids) > SHOWN and is_job_id(part) and client.get("/api/jobs", {"q": f"id:{part}", "limit": 1})["items"]:
        return part
    if not ids:
        raise NotFound(f"No job has an id that begins or ends with {part!r}.")
    if len(ids) > 1:
        candidates = tuple(Fault(str(job["id"]), str(job.get("name", ""))) for job in jobs[:SHOWN])
        number = f"more than {SHOWN}" if len(ids) > SHOWN else str(len(ids))
        raise Usage(f"{part!r} fits {number} jobs; give more of the id:", errors=candidates)
    return ids[0]


def complete_ids(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The newest jobs' ids for a shell, by beginning or by name; nothing when the server does not answer at once."""
    from click.shell_completion import CompletionItem

    context = ctx.find_object(Context)
    try:
        jobs = context.client(timeout_s=COMPLETE_S).get("/api/jobs", {"limit": 100})["items"] if context else []
    except EtlmonError:
        return []
    return [
        CompletionItem(shown(job["id"]), help=shown(f"{job['name']} {job['status']}"))
        for job in jobs
        if job["id"].startswith(incomplete) or job["name"].startswith(incomplete)
    ]


def resolve_all(client: Client, parts: Sequence[str]) -> list[str]:
    """Each part's id, in order, each job once."""
    return list(dict.fromkeys(resolve(client, part) for part in parts))
