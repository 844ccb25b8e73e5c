"""Filters, the door: one grammar for TUI, CLI, REST and WebSocket; a predicate for live jobs (SQL is the store's).

Two-valued throughout: a missing field does not match, and its negation does, so that predicate and SQL agree.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, assert_never

from etlmon.core.filter_grammar import parse
from etlmon.core.filter_keys import KEYS, Age, FieldType, Glob, Key, Value, fits, fold, searched
from etlmon.core.filter_tree import (
    TAG,
    All,
    And,
    Node,
    Not,
    Or,
    Term,
    Text,
    any_of,
    both,
    canonical,
    either,
    key_of,
    negated,
)
from etlmon.core.job import Job

__all__ = [
    "KEYS",
    "TAG",
    "Age",
    "All",
    "And",
    "FieldType",
    "Glob",
    "Key",
    "Node",
    "Not",
    "Or",
    "Predicate",
    "Term",
    "Text",
    "Value",
    "any_of",
    "both",
    "canonical",
    "compile",
    "either",
    "fold",
    "key_of",
    "live_fault",
    "matches",
    "moved_by_samples",
    "negated",
    "parse",
    "searched",
]

Predicate = Callable[[Job, int], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}


def matches(node: Node, job: Job, now: int) -> bool:
    """Whether ``job``, as it is at ``now``, passes the filter."""
    return compile(node)(job, now)


@lru_cache(maxsize=1024)
def compile(node: Node) -> Predicate:
    """The filter as a function of (job, now); kept, so that equal trees share one."""
    match node:
        case All():
            return lambda job, now: True
        case Not():
            inner = compile(node.node)
            return lambda job, now: not inner(job, now)
        case And():
            every = tuple(compile(each) for each in node.nodes)
            return lambda job, now: all(each(job, now) for each in every)
        case Or():
            several = tuple(compile(each) for each in node.nodes)
            return lambda job, now: any(each(job, now) for each in several)
        case Text():
            words = _anywhere(node.words)
            return lambda job, now: any(words(fold(text)) for text in searched(job))
        case Term():
            return _compile_term(node)
    assert_never(node)


def _compile_term(node: Term) -> Predicate:
    key = key_of(node)
    if node.tag is not None:
        return _compile_tag(node.tag, _whole(node.values))
    read = key.read
    match key.type:
        case FieldType.ENUM:
            words = frozenset(node.values)
            return lambda job, now: read(job, now) in words  # None is in none
        case FieldType.TEXT:
            return _on_text(read, _whole(node.values))
        case FieldType.MESSAGE:
            several = tuple(_anywhere(value) for value in node.values if isinstance(value, Glob))
            return _on_text(read, lambda folded: any(each(folded) for each in several))
        case FieldType.NUMBER | FieldType.DURATION:
            return _compile_number(read, node)
        case FieldType.INSTANT:
            return _compile_instant(read, node)
    assert_never(key.type)


def _on_text(read: Callable[[Job, int], Any], test: Callable[[str], bool]) -> Predicate:
    def predicate(job: Job, now: int) -> bool:
        text = read(job, now)
        return text is not None and test(fold(text))

    return predicate


def _compile_tag(tag: str, test: Callable[[str], bool]) -> Predicate:
    def predicate(job: Job, now: int) -> bool:
        text = job.tags.get(tag)
        return text is not None and test(fold(text))

    return predicate


def _compile_number(read: Callable[[Job, int], Any], node: Term) -> Predicate:
    if node.op == ":":
        values = frozenset(node.values)
        return lambda job, now: read(job, now) in values
    compare, limit = _COMPARE[node.op], node.values[0]

    def predicate(job: Job, now: int) -> bool:
        value = read(job, now)
        return value is not None and compare(value, limit)

    return predicate


def _compile_instant(read: Callable[[Job, int], Any], node: Term) -> Predicate:
    limit = node.values[0]
    if not isinstance(limit, Age):
        return _compile_number(read, node)
    compare, age_ms = _COMPARE[_MIRRORED[node.op]], limit.ms  # younger than an age is later than its instant

    def predicate(job: Job, now: int) -> bool:
        at = read(job, now)
        return at is not None and compare(at, now - age_ms)

    return predicate


def _whole(values: tuple[Value, ...]) -> Callable[[str], bool]:
    literals = frozenset(value.pieces[0] for value in values if isinstance(value, Glob) and len(value.pieces) == 1)
    globs = tuple(value for value in values if isinstance(value, Glob) and len(value.pieces) > 1)
    if not globs:
        return literals.__contains__
    if len(globs) == 1 and not literals:
        return partial(fits, globs[0])
    return lambda folded: folded in literals or any(fits(glob, folded) for glob in globs)


def _anywhere(glob: Glob) -> Callable[[str], bool]:
    literal = glob.literal
    if literal is not None:
        return lambda folded: literal in folded
    open_ended = Glob(("", *(piece for piece in glob.pieces if piece), ""))
    return lambda folded: fits(open_ended, folded)


def _leaves(node: Node) -> Iterator[Term | Text]:
    match node:
        case Term() | Text():
            yield node
        case Not():
            yield from _leaves(node.node)
        case And() | Or():
            for each in node.nodes:
                yield from _leaves(each)
        case All():
            return


def live_fault(node: Node) -> str | None:
    """Why this cannot filter a live stream: a term whose answer changes with time alone. None when it can."""
    for leaf in _leaves(node):
        if not isinstance(leaf, Term):
            continue
        if leaf.key == "duration":
            return "duration changes with time alone, so it cannot filter a live stream: filter a list by it instead"
        if any(isinstance(value, Age) for value in leaf.values):
            return f"{leaf.key} compared with an age changes with time alone: compare it with a timestamp"
    return None


def moved_by_samples(node: Node) -> bool:
    """Whether a sample (progress, metrics) can change what the filter says of a job."""
    return any(isinstance(leaf, Text) or key_of(leaf).sampled for leaf in _leaves(node))
