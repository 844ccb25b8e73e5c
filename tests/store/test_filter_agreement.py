"""A filter says the same of a job whether it is asked in Python or in SQL: any job, any tree, NULL and NOT included."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etlmon.core import filters as f
from etlmon.core.filter_keys import KEYS, FieldType, glob_of
from etlmon.core.filter_tree import term
from etlmon.core.job import Failure, FailureKind, Health, Job, Outcome, Status
from etlmon.server.store import jobs, migrations
from etlmon.server.store.filter_sql import where

T0 = 1_763_865_407_000
NOW = T0 + 3_600_000

ALPHABET = "aAbBzÉéßİ[]*?%_\\-^'\"\x1f\n �𝛂"
texts = st.text(ALPHABET, max_size=6)
names = st.text(ALPHABET, min_size=1, max_size=6)
optional = st.none() | texts
instants = st.integers(T0 - 5, T0 + 5) | st.integers(NOW - 5, NOW + 5)
numbers = st.sampled_from([0, 1, 2, 4500, 0.5, 45.5, -1, 2**53 + 1, 1e15, 1e300])
metrics = st.dictionaries(
    st.sampled_from(["recordsProcessed", "recordsFailed", "processingRate"]),
    numbers | st.sampled_from([None, True, "many", 2**64 - 1, -(10**400)]),
)
failures = st.builds(Failure, kind=st.sampled_from(FailureKind), message=texts, fingerprint=optional)


@st.composite
def made_jobs(draw: st.DrawFn) -> Job:
    finished = draw(st.none() | instants)
    return Job(
        id=draw(st.text("abAB01-", min_size=1, max_size=4)),
        name=draw(names),
        type=draw(names),
        status=draw(st.sampled_from(Status)),
        created_at=draw(instants),
        updated_at=draw(instants),
        started_at=draw(st.none() | instants),
        finished_at=finished,
        paused_at=draw(st.none() | instants),
        paused_ms=draw(st.sampled_from([0, 3, 4000])),
        owner=draw(optional),
        host=draw(optional),
        source=draw(optional),
        current_step=draw(optional),
        tags=draw(st.dictionaries(st.sampled_from(["env", "Env", "é"]), texts, max_size=2)),
        priority=draw(st.sampled_from([-1, 0, 5])),
        attempt=draw(st.sampled_from([1, 2])),
        progress_percent=draw(st.none() | st.sampled_from([0.0, 45.5, 100.0])),
        metrics=draw(metrics),
        outcome=draw(st.none() | st.just(Outcome.WARNING)),
        health=draw(st.none() | st.sampled_from(Health)),
        failure=draw(st.none() | failures),
    )


globs = st.lists(texts, min_size=1, max_size=4).map(lambda pieces: glob_of(pieces, normal=False))


@st.composite
def terms(draw: st.DrawFn) -> f.Term:
    if draw(st.booleans()):
        return f.Term(
            "tag", ":", tuple(draw(st.lists(globs, min_size=1, max_size=2))), draw(st.sampled_from(["env", "é"]))
        )
    key = KEYS[draw(st.sampled_from(sorted(KEYS)))]
    op = draw(st.sampled_from([">", "<", ">=", "<="]))
    match key.type:
        case FieldType.TEXT | FieldType.MESSAGE:
            return term(key, ":", [(value,) for value in draw(st.lists(globs, min_size=1, max_size=3))], None)
        case FieldType.ENUM:
            return term(key, ":", [(word,) for word in draw(st.lists(st.sampled_from(key.words), min_size=1))], None)
        case FieldType.INSTANT:
            return term(key, op, [(draw(instants | st.integers(0, 3_700_000).map(f.Age)),)], None)
        case FieldType.DURATION:
            return term(key, op, [(draw(st.integers(0, 10) | st.integers(3_599_000, 3_601_000)),)], None)
        case FieldType.NUMBER:
            return term(key, draw(st.sampled_from([":", op])), [(draw(numbers),)], None)


def nodes() -> st.SearchStrategy[f.Node]:
    leaves = terms() | globs.map(f.Text) | st.just(f.All())
    return st.recursive(
        leaves,
        lambda inner: (
            inner.map(f.Not)
            | st.lists(inner, min_size=2, max_size=3).map(lambda several: f.And(tuple(several)))
            | st.lists(inner, min_size=2, max_size=3).map(lambda several: f.Or(tuple(several)))
        ),
        max_leaves=6,
    )


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(connection)
    yield connection
    connection.close()


def said_by_sql(db: sqlite3.Connection, job: Job, node: f.Node, now: int) -> bool:
    db.execute("BEGIN")
    try:
        jobs.write_job(db, None, job, jobs.encode(job))
        condition = where(node, now)
        found: tuple[int] = db.execute(
            f"SELECT count(*) FROM job WHERE {condition.sql}", condition.parameters
        ).fetchone()
        return found[0] == 1
    finally:
        db.execute("ROLLBACK")


def make(**fields: Any) -> Job:
    steady = {"id": "a", "name": "n", "type": "t", "status": Status.RUNNING, "created_at": T0, "updated_at": T0}
    return Job(**{**steady, **fields})


@settings(max_examples=500, deadline=None)
@given(made_jobs(), nodes(), st.just(NOW) | st.just(T0))
@example(make(), f.Not(f.parse("owner:ana", NOW)), NOW)
@example(make(), f.parse("-error:x -kind:lost -duration>0", NOW), NOW)
@example(make(name="[ab]"), f.parse("name:[ab]", NOW), NOW)
@example(make(name="a"), f.parse("name:[ab]", NOW), NOW)
@example(make(name="abc"), f.parse("name:a_*", NOW), NOW)
@example(make(name="abc"), f.parse("name:a%*", NOW), NOW)
@example(make(name="a\\bc"), f.parse(r'name:"a\\"*', NOW), NOW)
@example(make(name="ab", current_step="cd"), f.Text(glob_of(["b", "c"], normal=False)), NOW)
@example(make(failure=Failure(message="a\x1fb")), f.parse('"a\x1fb"', NOW), NOW)
@example(make(name="a", current_step="b"), f.Text(glob_of(["a\x1fb"], normal=False)), NOW)
@example(make(name="É"), f.parse("name:é", NOW), NOW)
@example(make(metrics={"recordsProcessed": True}), f.parse("rows:1", NOW), NOW)
def test_predicate_and_sql_agree(db: sqlite3.Connection, job: Job, node: f.Node, now: int) -> None:
    stored = jobs.decode(jobs.encode(job))
    assert said_by_sql(db, stored, node, now) == f.matches(node, stored, now)


@given(nodes(), st.just(NOW))
@settings(max_examples=100, deadline=None)
def test_a_negated_filter_is_the_complement(db: sqlite3.Connection, node: f.Node, now: int) -> None:
    bare = make()
    assert said_by_sql(db, bare, node, now) != said_by_sql(db, bare, f.Not(node), now)


@pytest.mark.parametrize("hostile", ["'; DROP TABLE job; --", '") OR 1=1 --', "%", "_", "\\", "NEAR(", "a OR b"])
def test_nothing_in_a_filter_is_read_as_sql(db: sqlite3.Connection, hostile: str) -> None:
    for node in (
        f.Text(glob_of([hostile], normal=False)),
        f.any_of("name", [hostile]),
        f.any_of(f"tag.{hostile}", [hostile]),
    ):
        assert not said_by_sql(db, make(), node, NOW)
        named = make(name=hostile, tags={hostile: hostile})
        assert said_by_sql(db, named, node, NOW)
