"""The job filters of a query string, as every list of jobs takes them: parameters → filter tree → store query."""

from __future__ import annotations

from typing import Annotated

import msgspec

from etlmon.core.access import Identity, Role
from etlmon.core.durations import parse_age_or_instant
from etlmon.core.errors import Fault, Invalid
from etlmon.core.filters import Node, any_of, both, negated, parse
from etlmon.core.text import hint, sentence
from etlmon.server.store.pages import ORDERS, JobQuery

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class FilterParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs. Each may be repeated (any of them), and ``!`` before a value excludes it; ``q`` is the grammar."""

    status: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    q: str | None = None


class JobParams(FilterParams, frozen=True, kw_only=True):
    """Which jobs, by last change between ``since`` and ``until`` (timestamp or age), in what order, how many."""

    since: str | None = None
    until: str | None = None
    sort: str = "-createdAt"
    limit: Limit = 50
    cursor: str | None = None


def filter_node(params: FilterParams, now: int) -> Node:
    """The filter that the parameters spell, without ``since`` and ``until``."""
    nodes = [_node(key, getattr(params, key)) for key in ("status", "type", "name", "owner", "source", "host")]
    nodes += _tag_nodes(params.tag)
    if params.q:
        nodes.append(parse(params.q, now))
    return both(*nodes)


def _node(key: str, values: tuple[str, ...], path: str | None = None) -> Node:
    try:
        wanted = any_of(key, [value for value in values if not value.startswith("!")])
        unwanted = [value[1:] for value in values if value.startswith("!")]
        return both(wanted, negated(any_of(key, unwanted))) if unwanted else wanted
    except ValueError as fault:
        place = path or key
        raise Invalid(sentence(f"{place}: {fault}"), errors=(Fault(place, str(fault)),)) from None


def _tag_nodes(tags: tuple[str, ...]) -> list[Node]:
    """``k:v`` terms: values of one key are alternatives, keys are all wanted; ``!k:v`` and ``k:!v`` exclude."""
    by_key: dict[str, list[str]] = {}
    for text in tags:
        sign, rest = ("!", text[1:]) if text.startswith("!") else ("", text)
        key, colon, value = rest.partition(":")
        if not colon or not key:
            message = f"{text[:40]!r} is not key:value"
            raise Invalid(f"tag: {message}.", errors=(Fault("tag", message),))
        by_key.setdefault(key, []).append(sign + value)
    return [_node(f"tag.{key}", tuple(values), "tag") for key, values in by_key.items()]


def instant_param(name: str, text: str | None, now: int) -> int | None:
    """The instant that a parameter names, as a timestamp or an age (``24h``)."""
    if not text:
        return None
    try:
        return parse_age_or_instant(text, now)
    except (ValueError, OverflowError) as fault:
        raise Invalid(sentence(f"{name}: {fault}"), errors=(Fault(name, str(fault)),)) from None


def check_sort(sort: str) -> str:
    """The sort key with its sign; Invalid names the nearest known one."""
    word = sort.removeprefix("-")
    if word not in ORDERS:
        message = f"{sort[:40]!r} is not a sort key" + (hint(word, ORDERS) or f": use one of {', '.join(ORDERS)}")
        raise Invalid(sentence(f"sort: {message}"), errors=(Fault("sort", message),))
    return sort


def job_query(params: JobParams, identity: Identity, now: int, *, final_only: bool = False) -> JobQuery:
    """The store's question for a list of jobs; a reporter is asked only for what it reported."""
    return JobQuery(
        filter=filter_node(params, now),
        since=instant_param("since", params.since, now),
        until=instant_param("until", params.until, now),
        sort=check_sort(params.sort),
        limit=params.limit,
        cursor=params.cursor or None,
        final_only=final_only,
        reporter=identity.token_id if identity.role is Role.REPORTER else None,
    )
