"""``etlmon jobs wait``: return when jobs have ended, or reached a status."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from typing import Any

import click

from etlmon.commands.context import Context, jobs_argument, pass_context


@click.command("wait")
@jobs_argument
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Wait for this status (default completed).")
@click.option("--timeout", metavar="DURATION", help="Give up after this (5m) with exit code 124.")
@pass_context
def wait(context: Context, /, job_ids: tuple[str, ...], statuses: tuple[str, ...], timeout: str | None) -> int:
    """Wait until jobs have completed; exit 1 if any ended otherwise, 124 when the time is up.

    \b
    etlmon jobs wait 1c9e4f7a --timeout 30m && ./next-step
    """
    from etlmon.commands.job_columns import COLUMNS, WIDE
    from etlmon.commands.job_ids import resolve_all

    wanted = _statuses(statuses)
    ids = resolve_all(context.client(), job_ids)
    jobs, code = settled(context, ids, wanted, timeout)
    context.printer().items(jobs, COLUMNS, wide=WIDE)
    return code


def _statuses(given: Sequence[str]) -> Collection[str]:
    from etlmon.core.errors import Usage
    from etlmon.core.job import Status
    from etlmon.core.text import hint, sentence

    words = [word.strip().lower() for text in given for word in text.split(",") if word.strip()]
    for word in words:
        if word not in set(Status):
            raise Usage(sentence(f"--status: there is no status {word!r}{hint(word, list(Status))}"))
    return words or ["completed"]


def settled(
    context: Context, ids: Sequence[str], wanted: Collection[str], timeout: str | None
) -> tuple[list[dict[str, Any]], int]:
    """The jobs once each has reached a wanted status or ended, and the exit code: 0, 1 (ended otherwise) or 124."""
    from etlmon.commands.output import note
    from etlmon.core.durations import parse_duration
    from etlmon.core.errors import Usage

    try:
        timeout_s = parse_duration(timeout) / 1000 if timeout else None
    except (ValueError, OverflowError) as error:
        raise Usage(f"--timeout: {error}.") from error
    held: dict[str, dict[str, Any]] = {}
    try:
        asyncio.run(_settle(context, ids, wanted, timeout_s, held))
    except TimeoutError:
        waiting = sum(not _is_settled(held.get(job_id), wanted) for job_id in ids)
        note(f"etlmon: {timeout} have passed and {waiting} of {len(ids)} jobs are still on their way.")
        return list(held.values()), 124
    otherwise = any(job.get("status") not in wanted for job in held.values())
    return list(held.values()), 1 if otherwise else 0


def _is_settled(job: dict[str, Any] | None, wanted: Collection[str]) -> bool:
    from etlmon.commands.job_columns import is_final

    return job is not None and (job.get("status") in wanted or is_final(job))


async def _settle(
    context: Context, ids: Sequence[str], wanted: Collection[str], timeout_s: float | None, held: dict[str, Any]
) -> None:
    """Fill ``held`` until every job is settled; a job that was settled once stays as it was then."""
    from etlmon.commands.following import follow_jobs

    async with asyncio.timeout(timeout_s), aclosing(follow_jobs(context, ids)) as items:
        async for item in items:
            if isinstance(item, dict) and not _is_settled(held.get(item["id"]), wanted):
                held[item["id"]] = item
                if all(_is_settled(held.get(job_id), wanted) for job_id in ids):
                    return
