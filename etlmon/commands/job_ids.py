"""Which job a shortened id means: any beginning or end that only one job has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlmon.core.errors import NotFound, Usage
from etlmon.core.ids import is_job_id

if TYPE_CHECKING:
    from etlmon.client.rest import Client

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PART = re.compile(r"[A-Za-z0-9._:-]{1,128}")
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
        listed = "".join(f"\n  {job['id']}  {job.get('name', '')}" for job in jobs[:SHOWN])
        raise Usage(
            f"{part!r} fits several jobs; give more of the id:{listed}{chr(10) + '  …' if len(ids) > SHOWN else ''}"
        )
    return ids[0]


def resolve_all(client: Client, parts: Sequence[str]) -> list[str]:
    """Each part's id, in order, each job once."""
    return list(dict.fromkeys(resolve(client, part) for part in parts))
