"""A filter's tree as SQL over the job table, with the meaning of its predicate: a missing field does not match.

SQL's NULL is harmless under AND and OR (neither makes it true), so only a negation has to be two-valued.
"""

from __future__ import annotations

from typing import Any, NamedTuple, assert_never

from etlmon.core.filter_keys import Age, FieldType, Glob, Key, Value
from etlmon.core.filter_tree import All, And, Node, Not, Or, Term, Text, key_of
from etlmon.server.store.jobs import SEPARATOR

DURATION = """
CASE WHEN job.finished_at IS NOT NULL THEN job.duration_ms
     WHEN job.started_at IS NOT NULL THEN max(0, {now} - job.started_at - job.paused_ms
          - CASE WHEN job.paused_at IS NULL THEN 0 ELSE max(0, {now} - job.paused_at) END) END
"""
"""Job.execution_ms at an instant."""

COLUMNS = {
    "status": "status",
    "type": "type",
    "name": "name",
    "owner": "owner",
    "host": "host",
    "source": "source",
    "error": "error",
    "kind": "kind",
    "fingerprint": "fingerprint",
    "step": "step",
    "priority": "priority",
    "attempt": "attempt",
    "progress": "progress",
    "rows": "rows",
    "failed": "failed",
    "rate": "rate",
    "created": "created_at",
    "started": "started_at",
    "finished": "finished_at",
    "health": "health",
    "outcome": "outcome",
}
"""The column of each key that has one of its own."""
_MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}


class Where(NamedTuple):
    """A condition and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


EVERY = Where("1")
NONE = Where("0")


def where(node: Node, now: int) -> Where:
    """The condition that holds for the jobs that ``node`` matches at ``now`` (ms)."""
    match node:
        case All():
            return EVERY
        case And():
            return joined(" AND ", [where(each, now) for each in node.nodes])
        case Or():
            return joined(" OR ", [where(each, now) for each in node.nodes])
        case Not():
            inner = where(node.node, now)
            return Where(f"({inner.sql}) IS NOT TRUE", inner.parameters)
        case Text():
            return _anywhere(node.words)
        case Term():
            return _term(node, now)
    assert_never(node)


def joined(word: str, parts: list[Where]) -> Where:
    """Conditions joined by AND or OR."""
    sql = word.join(part.sql for part in parts)
    return Where(f"({sql})", tuple(value for part in parts for value in part.parameters))


def _anywhere(words: Glob) -> Where:
    literal = words.literal
    if literal is not None and SEPARATOR not in literal:
        return Where("instr(job.words, ?) > 0", (literal,))
    # A glob must find all its pieces in one text, so each is looked at by itself.
    pattern = f"%{like(words)}%"
    texts = " OR ".join(rf"job.{column} LIKE ? ESCAPE '\'" for column in ("name", "step", "error"))
    either = r"t.tag LIKE ? ESCAPE '\' OR t.value LIKE ? ESCAPE '\'"
    tags = f"EXISTS (SELECT 1 FROM job_tag t WHERE t.key = job.key AND ({either}))"  # noqa: S608
    return Where(f"({texts} OR {tags})", (pattern,) * 5)


def _term(term: Term, now: int) -> Where:
    key = key_of(term)
    if term.tag is not None:
        inner = joined(" OR ", [_text("t.value", value) for value in term.values])
        sql = f"EXISTS (SELECT 1 FROM job_tag t WHERE t.key = job.key AND t.tag = ? AND {inner.sql})"  # noqa: S608
        return Where(sql, (term.tag, *inner.parameters))
    if key.name == "id":
        return joined(" OR ", [_id(value) for value in term.values])
    return _column_term(term, key, now)


def _column_term(term: Term, key: Key, now: int) -> Where:
    column = f"job.{COLUMNS[key.name]}" if key.name in COLUMNS else ""
    match key.type:
        case FieldType.TEXT:
            return joined(" OR ", [_text(column, value) for value in term.values])
        case FieldType.MESSAGE:
            patterns = tuple(f"%{like(value)}%" for value in term.values if isinstance(value, Glob))
            return joined(" OR ", [Where(rf"{column} LIKE ? ESCAPE '\'", (pattern,)) for pattern in patterns])
        case FieldType.ENUM:
            return _one_of(column, term.values)
        case FieldType.DURATION:
            return _number(DURATION.format(now=int(now)), term)
        case FieldType.NUMBER:
            return _number(column, term)
        case FieldType.INSTANT:
            return _instant(column, term, now)
    assert_never(key.type)


def _one_of(expression: str, values: tuple[Value, ...]) -> Where:
    return Where(f"({expression}) IN ({', '.join('?' * len(values))})", values)


def _number(expression: str, term: Term) -> Where:
    if term.op == ":":
        return _one_of(expression, term.values)
    return Where(f"({expression}) {term.op} ?", (term.values[0],))


def _instant(column: str, term: Term, now: int) -> Where:
    limit = term.values[0]
    if isinstance(limit, Age):
        return Where(f"{column} {_MIRRORED[term.op]} ?", (now - limit.ms,))
    return _number(column, term)


def _text(column: str, value: Value) -> Where:
    """The columns are NOCASE: equality and LIKE fold ASCII letters, as ``filter_keys.fold`` does."""
    assert isinstance(value, Glob)  # noqa: S101 - what the grammar gives a TEXT key
    literal = value.literal
    if literal is not None:
        return Where(f"{column} = ?", (literal,))
    return Where(rf"{column} LIKE ? ESCAPE '\'", (like(value),))


def _id(value: Value) -> Where:
    """Ids are indexed as they are, and reversed without regard to case: so the latter is asked."""
    assert isinstance(value, Glob)  # noqa: S101 - what the grammar gives a TEXT key
    literal = value.literal
    if literal is not None:
        return Where("job.id_reversed = ?", (literal[::-1],))
    return Where(r"job.id LIKE ? ESCAPE '\'", (like(value),))


def like(glob: Glob) -> str:
    """The LIKE pattern (with ``\\`` as its escape) that fits what the glob fits."""
    return "%".join(piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for piece in glob.pieces)
