"""A run of log reports → the columns that are stored. Pure: what is untrusted in a line is cleaned here.

Lines come 100,000 a second, and nearly all of a run are alike: each column is made by calls in C, and only what is
out of the ordinary (fields, odd levels, text that is not ASCII) is looked at line by line.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from itertools import compress
from operator import attrgetter
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from etlmon.core import reports as r
from etlmon.core.instants import from_datetime
from etlmon.core.job import LEVEL_NUMBER, parse_level
from etlmon.core.text import clean_json, clean_line, clean_name
from etlmon.server.store.logs.columns import Columns, Context

MAX_FIELDS_BYTES = 16_384

_clean_logger = lru_cache(maxsize=1024)(clean_name)
_job_id, _at, _level, _message, _logger, _step, _fields = map(
    attrgetter, ("job_id", "at", "level", "message", "logger", "step", "fields")
)
Fields = list[bytes | None] | None


class LineOwner(NamedTuple):
    """What a line takes from its job; ``refused`` says why the job takes none."""

    name: str
    step: str | None
    attempt: int
    refused: str | None = None


class Batching(NamedTuple):
    """What holds for all lines of a batch. ``owners``: of every job that a line names."""

    owners: dict[str, LineOwner]
    now: int
    skew_ms: int
    max_bytes: int


def columns_of(run: list[r.Log], first_seq: int, batch: Batching) -> tuple[Columns, list[tuple[int, str]]]:
    """The columns of those lines of ``run`` that can be taken, numbered from ``first_seq``; of the others the place
    in ``run`` and why not."""
    levels: list[int | None] = list(map(LEVEL_NUMBER.get, map(_level, run)))
    given: list[msgspec.Raw | UnsetType] = list(map(_fields, run))
    fields: Fields = None
    refused: list[tuple[int, str]] = []
    is_plain = None not in levels and given.count(UNSET) == len(run)
    if not is_plain or any(owner.refused for owner in batch.owners.values()):
        fields, refused = _checked(run, levels, given, batch.owners)
        if refused:
            kept = [level is not None for level in levels]
            run, levels = list(compress(run, kept)), list(compress(levels, kept))
            fields = list(compress(fields, kept))
    if not run:
        return Columns([], [], [], [], [], [], None), refused
    contexts, which = _contexts(run, batch.owners)
    columns = Columns(
        contexts=contexts,
        which=which,
        seqs=list(range(first_seq, first_seq + len(run))),
        ats=_instants(run, batch),
        levels=levels,  # type: ignore[arg-type]  # a line without one was refused
        messages=_messages(run, batch.max_bytes),
        fields=None if fields is None or fields.count(None) == len(fields) else fields,
    )
    return columns, refused


def _checked(
    run: list[r.Log], levels: list[int | None], given: list[msgspec.Raw | UnsetType], owners: dict[str, LineOwner]
) -> tuple[list[bytes | None], list[tuple[int, str]]]:
    """Every line's fields, and what is refused; ``levels`` are completed, a refused line's is None."""
    fields: list[bytes | None] = [None] * len(run)
    refused: list[tuple[int, str]] = []
    for place, (report, raw) in enumerate(zip(run, given, strict=True)):
        why = owners[report.job_id].refused
        if why is None and levels[place] is None:
            try:
                levels[place] = parse_level(report.level)
            except ValueError as fault:
                why = str(fault)
        if why is None and not isinstance(raw, UnsetType):
            text = fields[place] = clean_json(bytes(raw))
            why = _fields_fault(text)
        if why is not None:
            levels[place] = None
            refused.append((place, why))
    return fields, refused


def _fields_fault(fields: bytes) -> str | None:
    if len(fields) > MAX_FIELDS_BYTES:
        return f"fields is {len(fields)} bytes of JSON: at most {MAX_FIELDS_BYTES}"
    text = fields.strip()
    if text == b"null":
        return None
    if not text.startswith(b"{"):
        return "fields must be an object"
    try:
        msgspec.json.decode(fields)
    except (msgspec.DecodeError, RecursionError):
        return "fields must be an object of JSON"
    return None


def _contexts(run: list[r.Log], owners: dict[str, LineOwner]) -> tuple[list[Context], list[int]]:
    """The contexts of the lines, and which of them each line has."""
    job_ids, loggers, steps = list(map(_job_id, run)), list(map(_logger, run)), list(map(_step, run))
    if all(column.count(column[0]) == len(run) for column in (job_ids, loggers, steps)):
        return [_context(owners, job_ids[0], loggers[0], steps[0])], [0] * len(run)
    keys = list(zip(job_ids, loggers, steps, strict=True))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [_context(owners, *key) for key in numbers], list(map(numbers.__getitem__, keys))


def _context(owners: dict[str, LineOwner], job_id: str, logger: str | None, step: str | None) -> Context:
    owner = owners[job_id]
    return (
        job_id,
        owner.name,
        None if logger is None else _clean_logger(logger),
        owner.step if step is None else clean_name(step),
        owner.attempt,
    )


def _instants(run: list[r.Log], batch: Batching) -> list[int]:
    ats = list(map(_at, run))
    if ats.count(ats[0]) == len(ats):
        return [_instant(ats[0], batch)] * len(ats)
    return [_instant(at, batch) for at in ats]


def _instant(at: datetime | None, batch: Batching) -> int:
    return batch.now if at is None else min(batch.now, from_datetime(at) + batch.skew_ms)


def _messages(run: list[r.Log], max_bytes: int) -> list[str]:
    messages = list(map(_message, run))
    text = "".join(messages)
    if text.isascii() and "\x00" not in text and max(map(len, messages)) <= max_bytes:
        return messages
    return [clean_line(message, max_bytes) for message in messages]
