"""The tree that a filter is parsed to, and how trees are joined and written. Nodes are values: they hash."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from etlmon.core.errors import Fault, Invalid
from etlmon.core.filter_keys import KEYS, FieldType, Glob, Key, Value, read_value, write_value
from etlmon.core.text import sentence


class All(msgspec.Struct, frozen=True):
    """Every job."""


class Text(msgspec.Struct, frozen=True):
    """The words are found anywhere in one of the texts of ``filter_keys.searched``."""

    words: Glob


class Term(msgspec.Struct, frozen=True):
    """``key op value``: op ``:`` holds for any of ``values``; ``>``, ``<``, ``>=``, ``<=`` have one.

    A job without the field never matches, and always matches the Not of it. ``key`` is ``tag`` when ``tag`` is given.
    """

    key: str
    op: str
    values: tuple[Value, ...]
    tag: str | None = None


class Not(msgspec.Struct, frozen=True):
    """Every job that the node does not match."""

    node: Node


class And(msgspec.Struct, frozen=True):
    """Every one of two or more nodes; none of them All or And."""

    nodes: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True):
    """Any one of two or more nodes; none of them All or Or."""

    nodes: tuple[Node, ...]


Node = All | Text | Term | Not | And | Or

TAG = Key(name="tag", type=FieldType.TEXT, read=lambda job, now: None)
"""The Key of every ``tag.<key>``: which tag is read is in the Term."""

_PLAIN = re.compile(r"[^\s()\",:<>*\\-][^\s()\",:<>*\\]*")


def key_of(term: Term) -> Key:
    """The Key of a term."""
    return TAG if term.tag is not None else KEYS[term.key]


def both(*nodes: Node) -> Node:
    """All of ``nodes``."""
    flat: list[Node] = []
    for node in nodes:
        if isinstance(node, And):
            flat += node.nodes
        elif not isinstance(node, All):
            flat.append(node)
    if not flat:
        return All()
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(*nodes: Node) -> Node:
    """Any of ``nodes``; every job when one of them is All, or when there is none."""
    flat: list[Node] = []
    for node in nodes:
        if isinstance(node, All):
            return All()
        flat += node.nodes if isinstance(node, Or) else (node,)
    if not flat:
        return All()
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negated(node: Node) -> Node:
    """The opposite of ``node``."""
    return node.node if isinstance(node, Not) else Not(node)


def any_of(key: str, values: Iterable[str]) -> Node:
    """``key:value,value`` from the values of a parameter: ``*`` is a glob, ``tag.env`` names a tag, no value is All.

    Raises ``errors.Invalid`` with the path ``key`` and every fault.
    """
    tag = key.removeprefix("tag.") if key.startswith("tag.") else None
    known = TAG if tag is not None else KEYS[key]
    read, faults = list[tuple[Value, ...]](), list[Fault]()
    for value in values:
        try:
            read.append(read_value(known, value.split("*")))
        except ValueError as fault:
            faults.append(Fault(key, str(fault)))
    if faults:
        raise Invalid(sentence(f"{key}: {faults[0].message}"), errors=tuple(faults))
    return term(known, ":", read, tag) if read else All()


def term(key: Key, op: str, values: list[tuple[Value, ...]], tag: str | None) -> Term:
    """A Term with each value once."""
    flat = dict.fromkeys(value for several in values for value in several)
    return Term(key.name, op, tuple(flat), tag)


def canonical(node: Node) -> str:
    """The one text of a tree: parsing it gives the same tree."""
    match node:
        case All():
            return ""
        case Or():
            return " OR ".join(canonical(each) for each in node.nodes)
        case And():
            return " ".join(f"({canonical(each)})" if isinstance(each, Or) else canonical(each) for each in node.nodes)
        case Not():
            inner = canonical(node.node)
            return f"-({inner})" if isinstance(node.node, All | And | Or) else f"-{inner}"
        case Text():
            return _written(node.words)
        case Term():
            return _written_term(node)


def _written_term(node: Term) -> str:
    key = key_of(node)
    name = node.key if node.tag is None else f"tag.{_quoted(node.tag)}"
    values = (_written(value) if isinstance(value, Glob) else write_value(key, value) for value in node.values)
    return f"{name}{node.op}{','.join(values)}"


def _written(glob: Glob) -> str:
    if len(glob.pieces) == 1:
        return _quoted(glob.pieces[0])
    return "*".join(_quoted(piece) if piece else "" for piece in glob.pieces)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text  # folded, so it is never one of OR, AND, NOT
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
