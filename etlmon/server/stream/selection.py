"""What a subscription selects: untrusted wishes → one checked value, the same for all who asked for the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from etlmon.core import filters
from etlmon.core.access import Identity, Role
from etlmon.core.errors import EtlmonError, Fault, Invalid
from etlmon.core.filters import Node, any_of, both, either, negated
from etlmon.core.job import Job, parse_level
from etlmon.core.protocol import DATA_TYPES, DEFAULT_TOPICS, NO_TOPICS, MessageType, Topic, Wanted, split
from etlmon.core.text import hint, sentence
from etlmon.core.words import words_of

MAX_VALUES = 1000
"""The most ids, names or words that one subscription may list."""
NOBODY = ""
"""The scope of a reporter without a token id: no job has an empty reporter."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A group's identity. Equal selections share one group, one evaluation and one frame.

    ``scope`` is the token whose jobs alone are seen (a reporter's), None for everybody's. ``job_ids`` are ANDed with
    ``filter``, the canonical text of ``node``. ``level`` and ``words`` are asked of log lines, ``types`` of messages.
    """

    topics: frozenset[Topic]
    filter: str = ""
    scope: str | None = None
    job_ids: frozenset[str] | None = None
    level: int = 0
    words: tuple[str, ...] = ()
    types: frozenset[MessageType] | None = None

    @property
    def jobs(self) -> bool:
        """Whether it is about jobs' states or metrics."""
        return Topic.JOBS in self.topics or Topic.METRICS in self.topics

    @property
    def logs(self) -> bool:
        """Whether it is about log lines."""
        return Topic.LOGS in self.topics

    @property
    def indexed(self) -> bool:
        """Whether the job's id alone tells which groups to ask."""
        return self.job_ids is not None

    def describe(self) -> dict[str, object]:
        """What an operator is shown of it."""
        return {
            "topics": sorted(self.topics),
            "q": self.filter or None,
            "jobIds": sorted(self.job_ids)[:20] if self.job_ids is not None else None,
            "level": self.level or None,
            "words": " ".join(self.words) or None,
            "types": sorted(self.types) if self.types is not None else None,
        }


W = TypeVar("W", Topic, MessageType)
V = TypeVar("V")
Sees = Callable[[Job, int], bool]


def build_sees(node: Node, selection: Selection) -> Sees:
    """The predicate over jobs of a selection: its filter, its ids and its scope."""
    matches = filters.compile(node)
    job_ids, scope = selection.job_ids, selection.scope
    if job_ids is None and scope is None:
        return matches

    def sees(job: Job, now: int) -> bool:
        return (job_ids is None or job.id in job_ids) and (scope is None or job.reporter == scope) and matches(job, now)

    return sees


def parse_selection(
    wanted: Wanted, identity: Identity, now: int, *, channel: str | None = None
) -> tuple[Selection, Node] | None:
    """What a client wants, checked; None for ``topics=none``. Invalid holds every fault."""
    if split(wanted.topics) == (NO_TOPICS,):
        return None
    faults: list[Fault] = []
    topics = _collect(faults, lambda: _parse_words("topics", wanted.topics, Topic))
    types = _collect(faults, lambda: _parse_words("types", wanted.types, DATA_TYPES))
    level = _collect(faults, lambda: _parse_level(wanted.level))
    listed = _collect(faults, lambda: _parse_ids(wanted))
    node = _collect(faults, lambda: _parse_node(wanted, now, channel))
    if faults or node is None:
        detail = "; ".join(f"{fault.path}: {fault.message}" for fault in faults[:5])
        raise Invalid(sentence(f"This subscription is wrong at {detail}"), errors=tuple(faults))
    ids = [job_id for job_id in listed or () if not job_id.startswith("!")]
    selection = Selection(
        topics=topics or DEFAULT_TOPICS,
        filter=filters.canonical(node),
        scope=None if identity.role is not Role.REPORTER else identity.token_id or NOBODY,
        job_ids=frozenset(ids) if ids or wanted.job_ids == [] else None,
        level=level or 0,
        words=tuple(sorted(words_of(wanted.words or ""))),
        types=types or None,
    )
    return selection, node


def _parse_node(wanted: Wanted, now: int, channel: str | None) -> Node:
    nodes = [
        *(_node_of(key, getattr(wanted, key)) for key in ("name", "type", "owner", "status")),
        _node_of("id", [each for each in _parse_ids(wanted) if each.startswith("!")]),
    ]
    if channel is not None:
        nodes.append(_parse_channel(channel))
    if wanted.q:
        nodes.append(filters.parse(wanted.q, now))
    node = both(*nodes)
    fault = filters.live_fault(node)
    if fault is not None:
        raise Invalid(fault, errors=(Fault("q", fault),))
    return node


def _parse_ids(wanted: Wanted) -> tuple[str, ...]:
    return _listed("jobIds", [*split(wanted.job_ids), *split(wanted.job)])


def _listed(key: str, words: str | list[str] | None) -> tuple[str, ...]:
    values = split(words)
    if len(values) > MAX_VALUES:
        message = f"more than {MAX_VALUES} values"
        raise Invalid(f"{key} lists {message}.", errors=(Fault(key, message),))
    return values


def _node_of(key: str, words: str | list[str] | None) -> Node:
    values = _listed(key, words)
    wanted = any_of(key, [value for value in values if not value.startswith("!")])
    unwanted = [value.removeprefix("!") for value in values if value.startswith("!")]
    return both(wanted, negated(any_of(key, unwanted))) if unwanted else wanted


def _parse_channel(channel: str) -> Node:
    kind, _, name = channel.partition(":")
    if kind != "job" or not name:
        message = 'a channel is "job:" and a job\'s id or an owner'
        raise Invalid(f"There is no channel {channel[:80]!r}: {message}.", errors=(Fault("channel", message),))
    return either(any_of("id", [name]), any_of("owner", [name]))


def _parse_level(level: str | None) -> int:
    try:
        return parse_level(level) if level else 0
    except ValueError as error:
        raise Invalid(sentence(f"level: {error}"), errors=(Fault("level", str(error)),)) from error


def _parse_words(path: str, words: str | list[str] | None, known: Iterable[W]) -> frozenset[W]:
    allowed = {each.value: each for each in known}
    faults = [
        Fault(path, f"{word[:80]!r} is none of {', '.join(sorted(allowed))}{hint(word, allowed)}")
        for word in map(str.lower, split(words))
        if word not in allowed
    ]
    if faults:
        raise Invalid(sentence(f"{path}: {faults[0].message}"), errors=tuple(faults))
    return frozenset(allowed[word.lower()] for word in split(words))


def _collect(faults: list[Fault], parse: Callable[[], V]) -> V | None:
    try:
        return parse()
    except EtlmonError as error:
        faults.extend(error.errors or (Fault("", error.detail),))
        return None
