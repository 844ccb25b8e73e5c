"""The filters that lists of jobs share, as options of a command and as parameters of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from etlmon.core.errors import Usage

F = TypeVar("F", bound=Callable[..., Any])

SORTS = ("createdAt", "startedAt", "finishedAt", "updatedAt", "duration", "name", "status", "priority", "progress")


def job_filters(command: F) -> F:
    """Options ``--status --type --name --owner --tag --source --host --since --until -q``; each may be repeated."""
    for option in reversed(
        (
            click.option(
                "-s",
                "--status",
                multiple=True,
                metavar="STATUS",
                help="pending, running, paused, completed, failed, cancelled.",
            ),
            click.option("--type", "type_", multiple=True, metavar="TYPE", help="Kind of work."),
            click.option("--name", multiple=True, metavar="NAME", help="Name of the job; * globs with -q."),
            click.option("--owner", multiple=True, metavar="OWNER", help="Whose it is."),
            click.option("--tag", multiple=True, metavar="K=V", help="A tag and its value."),
            click.option("--source", multiple=True, metavar="SOURCE", help="sdk, run, worker …"),
            click.option("--host", multiple=True, metavar="HOST", help="Where it runs."),
            click.option("--since", metavar="AGE|TIME", help="Changed within (24h) or since a timestamp."),
            click.option("--until", metavar="AGE|TIME", help="Last changed before that."),
            click.option(
                "-q", "--query", "q", metavar="EXPR", help="A filter: 'status:failed name:orders_* duration>10m'."
            ),
        )
    ):
        command = option(command)
    return command


def filter_params(options: dict[str, Any]) -> list[tuple[str, Any]]:
    """The chosen filters as query parameters; a comma separates several values, ``!`` before one excludes it."""
    params: list[tuple[str, Any]] = []
    for option, key in (
        ("status", "status"),
        ("type_", "type"),
        ("name", "name"),
        ("owner", "owner"),
        ("source", "source"),
        ("host", "host"),
    ):
        for given in options.get(option) or ():
            params += [(key, word) for word in given.split(",") if word]
    for given in options.get("tag") or ():
        key, separator, value = given.partition("=")
        if not separator or not key.lstrip("!"):
            raise Usage(f"--tag takes KEY=VALUE, not {given!r}.")
        excluded = key.startswith("!")
        params.append(("tag", f"{'!' if excluded else ''}{key.lstrip('!')}:{value}"))
    for option in ("since", "until", "q"):
        if options.get(option) is not None:
            params.append((option, options[option]))
    return params
