"""A list of jobs as ``jobs list`` and ``history list`` ask for it and print it: filters, order, how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from etlmon.commands.context import Context
from etlmon.commands.job_filters import SORTS, filter_params

F = TypeVar("F", bound=Callable[..., Any])


def page_options(command: F) -> F:
    """Options ``--sort --limit --all``."""
    for option in (
        click.option("-a", "--all", "everything", is_flag=True, help="All that match."),
        click.option(
            "-L", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many."
        ),
        click.option(
            "--sort", metavar="KEY", help=f"{', '.join(SORTS)}; - before it: largest first (default -createdAt)."
        ),
    ):
        command = option(command)
    return command


def list_params(options: dict[str, Any], sort: str | None) -> list[tuple[str, Any]]:
    """The chosen filters and the order as query parameters."""
    return [*filter_params(options), *([("sort", sort)] if sort else [])]


def print_jobs(context: Context, path: str, params: list[tuple[str, Any]], *, limit: int | None) -> None:
    """Print the first ``limit`` jobs (None: all); a person is told of none and of more."""
    from etlmon.commands.job_columns import COLUMNS, WIDE
    from etlmon.commands.output import note

    printer, client = context.printer(), context.client()
    found = list(client.items(path, params, limit=None if limit is None else limit + 1))
    printer.items(found[:limit], COLUMNS, wide=WIDE)
    if printer.look.terminal and not printer.structured:
        if not found:
            note("No jobs match.")
        elif limit is not None and len(found) > limit:
            note(f"The first {limit} are shown; --limit N or --all for more.")
