"""The filter grammar: one text, one tree, one meaning; and any text at all gives a tree or a fault with its column."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from etlmon.core import filters as f
from etlmon.core.errors import Invalid
from etlmon.core.filter_keys import Key, fits, glob_of, read_value
from etlmon.core.filter_tree import term
from etlmon.core.job import Failure, FailureKind, Health, Job, Outcome, Status

HOUR = 3_600_000
T0 = 1_763_865_407_000  # 2025-11-23T02:36:47Z
NOW = T0 + 2 * HOUR

MakeJob = Callable[..., Job]


@pytest.fixture
def failed(make_job: MakeJob) -> Job:
    """``crm_sync``, which failed after half an hour; every field that a filter reads is set."""
    return make_job(
        id="0190F6BB",
        name="crm_sync",
        type="api_upload",
        status=Status.FAILED,
        owner="Ana",
        host="etl-3",
        source="worker",
        tags={"env": "prod", "Team": "Données [x]"},
        failure=Failure(kind=FailureKind.TIMEOUT, message="Connection refused: 10.0.0.1", fingerprint="ab12"),
        current_step="Uploading to API",
        priority=5,
        attempt=3,
        finished_at=T0 + HOUR // 2,
        progress_percent=45.5,
        metrics={"recordsProcessed": 4500, "recordsFailed": 15, "processingRate": 150.5},
        health=Health.FAIR,
        outcome=Outcome.WARNING,
    )


@pytest.fixture
def bare(make_job: MakeJob) -> Job:
    """A pending ``ledger_close``: nearly every field is missing, and its metrics are nonsense."""
    nonsense = {"recordsProcessed": "many", "recordsFailed": True}
    return make_job(id="x1", name="ledger_close", type="sql", status=Status.PENDING, started_at=None, metrics=nonsense)


MATCHES = [
    *(
        "",
        "()",
        "*",
        "status:failed",
        "status:running,failed",
        "STATUS:Failed",
        "status:f*",
        "-status:running",
        "--status:failed",
    ),
    *(
        "type:api_upload",
        "type:API_*",
        "type:*_upload",
        "type:a*u*d",
        "-type:command",
        "name:crm_sync",
        "owner:ana",
        "owner:*",
    ),
    *(
        "host:etl-3",
        "source:worker",
        "id:0190f6bb",
        "id:0190*",
        "tag.env:prod",
        "tag.env:dev,pr*",
        'tag."env":"prod"',
        "tag.Team:*[x]",
    ),
    *(
        'tag.Team:"données [X]"',
        "error:refused",
        'error:"connection refused"',
        "error:conn*10.0",
        "kind:timeout",
        "kind:lost,timeout",
    ),
    *(
        "kind:*",
        "fingerprint:ab12",
        "step:upload*",
        "priority:5",
        "priority>4",
        "priority>=5",
        "priority<=5",
        "priority<5.5",
        "attempt:1,3",
    ),
    *(
        "progress>45",
        "progress:45.5",
        "progress<50%",
        "rows:4500",
        "rows>4499",
        "failed>10",
        "rate>150",
        "duration>29m",
        "duration<31m",
    ),
    *(
        "duration:30m",
        "duration>=30m",
        "created<24h",
        "created>1h",
        "created>2025-11-22",
        "created<2025-11-23T02:36:48Z",
        "created>=2h",
    ),
    *(
        "created<=2025-11-23T03:36:47+01:00",
        "finished<2h",
        "finished>1h",
        "started<2h1m",
        "health:fair,poor",
        "outcome:warning",
        "crm",
    ),
    *(
        "CRM",
        "refused",
        '"connection refused"',
        "uploading",
        "prod",
        "env",
        "données",
        "c*sync",
        "up*api",
        "crm refused",
        "crm OR nope",
    ),
    *(
        "nope OR crm",
        "(nope OR crm) refused",
        "crm -(nope OR nada)",
        "crm AND refused",
        "NOT nope",
        "crm NOT nope",
        '"crm"*"sync"',
    ),
    'status:failed,running -type:command name:c* tag.env:prod duration>10m "connection refused"',
    "nope nada OR status:failed crm",
]
REFUSES = [
    *(
        "-crm",
        "-()",
        "status:running",
        "-status:failed",
        "name:crm",
        "name:*crm",
        "type:a*x*d",
        "owner:an",
        "id:0190",
        "tag.ENV:prod",
    ),
    *(
        "tag.team:*",
        "tag.env:pro",
        "error:refused!",
        "kind:error",
        "priority:4",
        "priority>5",
        "priority<5",
        "progress>45.5",
        "rows<4500",
    ),
    *(
        "duration>30m",
        "duration<30m",
        "created>24h",
        "created<1h",
        "finished<1h",
        "created<2025-11-23",
        "health:good",
        "nope",
        "etl-3",
    ),
    *(
        "crm nope",
        "nope OR nada",
        "crm -refused",
        "(crm OR nope) nada",
        "nope crm OR nada crm",
        "api_upload",
        "con[nm]ection",
        "c?m",
    ),
]


@pytest.mark.parametrize("text", MATCHES)
def test_what_the_failed_job_matches(text: str, failed: Job) -> None:
    assert f.matches(f.parse(text, NOW), failed, NOW)


@pytest.mark.parametrize("text", REFUSES)
def test_what_the_failed_job_does_not_match(text: str, failed: Job) -> None:
    assert not f.matches(f.parse(text, NOW), failed, NOW)


ABSENT = [
    *(
        "owner:*",
        "host:*",
        "source:*",
        "tag.env:*",
        "error:*",
        "kind:*",
        "fingerprint:*",
        "step:*",
        "duration>=0s",
        "duration<1d",
    ),
    *(
        "progress>=0",
        "progress<100",
        "rows>=0",
        "rows<9",
        "failed:1",
        "failed<9",
        "rate>=0",
        "started<1d",
        "started>1d",
    ),
    *("finished<1d", "started>2000-01-01", "health:*", "outcome:*", 'owner:""'),
]


@pytest.mark.parametrize("text", ABSENT)
def test_a_missing_field_never_matches_and_its_negation_always_does(text: str, bare: Job) -> None:
    assert not f.matches(f.parse(text, NOW), bare, NOW)
    assert f.matches(f.parse(f"-{text}", NOW), bare, NOW)
    assert f.matches(f.parse(f"-({text} {text})", NOW), bare, NOW)


def test_the_empty_text_is_found_everywhere_and_a_running_duration_grows(make_job: MakeJob) -> None:
    job = make_job()
    assert f.matches(f.parse('""', NOW), job, NOW)
    longer = f.parse("duration>10m", NOW)
    assert not f.matches(longer, job, T0 + 600_000)
    assert f.matches(longer, job, T0 + 600_001)
    younger = f.parse("created<24h", NOW)
    assert f.matches(younger, job, T0 + 24 * HOUR - 1)
    assert not f.matches(younger, job, T0 + 24 * HOUR)


FAULTS = [
    ("statsu:failed", 1, "did you mean 'status'?"),
    ("crm  ownr:ana", 6, "did you mean 'owner'?"),
    ("http://x", 1, "quote the text"),
    ("zzz:1", 1, "the keys are tag.<key>, status"),
    ("status:runing", 8, "did you mean 'running'?"),
    ("kind:x", 6, "one of error, timeout, lost, killed, rejected, upstream"),
    ("status:", 8, "needs a value"),
    ("name: foo", 6, "needs a value"),
    ("name:a,", 8, "needs a value"),
    ("name:a,,b", 8, "needs a value"),
    ("status>failed", 1, "cannot be compared with '>'"),
    ("name<=a", 1, "cannot be compared with '<='"),
    ("tag.env>a", 1, "cannot be compared"),
    ("tag:prod", 1, "tag.env:prod"),
    ("tag.:prod", 1, "tag.env:prod"),
    ("created:24h", 1, "compare created with < or >"),
    ("created>soon", 9, "neither an age nor a timestamp"),
    ("created>2026-01-01T00:00:00", 9, "no time zone"),
    ("created<1h,2h", 11, "takes one value"),
    ("duration>10", 10, "not a duration"),
    ("rows>1_000", 6, "not a number"),
    ("rows>١٢", 6, "not a number"),
    ("progress:nan", 10, "not a number"),
    ("priority:1*", 10, "not a number"),
    ("(a OR b", 1, "never closed"),
    ("a) b", 2, "without its '('"),
    ('a "b c', 3, "quote is never closed"),
    ("name:a OR", 8, "OR needs something"),
    ("OR a", 1, "OR needs something"),
    ("(OR)", 2, "OR needs something"),
    ("a AND", 3, "AND needs something"),
    ("AND a", 1, "AND needs something"),
    ("a - b", 3, "nothing to negate"),
    ("-", 1, "nothing to negate"),
    ("NOT", 4, "nothing to negate"),
    (">5", 1, "no key before it"),
    ('"a":b', 4, "no key before it"),
    ("(" * 100_000, 4097, "longer than 4096 bytes"),
    ("é" * 2049, 4097, "longer than 4096 bytes"),
    ("(" * 4000, 65, "nested deeper than 64"),
    ("-" * 4000 + "a", 65, "nested deeper than 64"),
    ("name:" + "a*" * 40, 6, "more than 16 '*'"),
]


@pytest.mark.parametrize(("text", "column", "message"), FAULTS, ids=lambda value: str(value)[:20])
def test_a_fault_names_its_column_and_what_to_write(text: str, column: int, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        f.parse(text, NOW)
    (fault,) = caught.value.errors
    assert fault.path == "q"
    assert fault.message.startswith(f"column {column}: ")
    assert message in fault.message
    assert fault.message in caught.value.detail


def test_deep_but_lawful_nesting_is_read() -> None:
    node = f.parse("-(" * 30 + "name:a" + ")" * 30, NOW)
    assert f.canonical(node) == "name:a"
    deep = f.parse("(a OR b (" * 30 + "c" + "))" * 30, NOW)
    assert f.parse(f.canonical(deep), NOW) == deep


WORDS = st.text(st.sampled_from('abAB*"\\():,<>- .éÉ_ſK\u0301\t'), max_size=8) | st.sampled_from(
    ["OR", "AND", "NOT", "prod", "tag.x"]
)


@st.composite
def globs(draw: st.DrawFn) -> f.Glob:
    return glob_of(draw(st.lists(WORDS, min_size=1, max_size=4)), normal=draw(st.booleans()))


@st.composite
def leaves(draw: st.DrawFn) -> f.Node:
    key: Key = draw(st.sampled_from([*f.KEYS.values(), f.TAG]))
    tag = draw(st.text(st.sampled_from('envTag.":*- é'), min_size=1, max_size=6)) if key is f.TAG else None
    pieces: st.SearchStrategy[list[str]]
    match key.type:
        case f.FieldType.TEXT | f.FieldType.MESSAGE:
            if draw(st.booleans()):
                return f.Text(glob_of(draw(st.lists(WORDS, min_size=1, max_size=3)), normal=False))
            ops, pieces = [":"], st.lists(WORDS, min_size=1, max_size=3)
        case f.FieldType.ENUM:
            ops, pieces = [":"], st.sampled_from(key.words).map(lambda word: [word])
        case f.FieldType.NUMBER:
            numbers = st.integers(-(10**14), 10**14) | st.decimals(-9999, 9999, places=6)
            ops, pieces = [":", ">", "<", ">=", "<="], numbers.map(lambda number: [f"{number}"])
        case f.FieldType.DURATION:
            ops, pieces = [":", ">", "<", ">=", "<="], st.integers(0, 10**12).map(lambda ms: [f"{ms}ms"])
        case f.FieldType.INSTANT:
            written = st.integers(0, 10**9).map(lambda s: [f"{s}s"]) | st.datetimes().map(
                lambda at: [at.isoformat() + "Z"]
            )
            ops, pieces = [">", "<", ">=", "<="], written
    op = draw(st.sampled_from(ops))
    many = draw(st.lists(pieces, min_size=1, max_size=3 if op == ":" else 1))
    return term(key, op, [read_value(key, each) for each in many], tag)


TREES = st.recursive(
    st.just(f.All()) | leaves(),
    lambda inner: st.one_of(
        inner.map(f.negated),
        st.lists(inner, max_size=3).map(lambda nodes: f.both(*nodes)),
        st.lists(inner, max_size=3).map(lambda nodes: f.either(*nodes)),
    ),
    max_leaves=8,
)


@given(TREES)
@example(f.both(f.parse('"OR"', 0), f.parse('"AND" "NOT" "-x"', 0)))
def test_the_canonical_text_of_a_tree_is_read_back_as_that_tree(node: f.Node) -> None:
    text = f.canonical(node)
    again = f.parse(text, NOW)
    assert again == node, text
    assert hash(again) == hash(node)
    assert f.canonical(again) == text


TEXTS = st.none() | st.text(st.sampled_from("abAB éÉ*_"), max_size=6)
JOBS = st.builds(
    Job,
    id=st.just("j"),
    name=st.text(st.sampled_from("abAB éÉ"), max_size=6),
    type=st.just("sql"),
    status=st.sampled_from(Status),
    created_at=st.integers(0, 10**13),
    updated_at=st.just(0),
    started_at=st.none() | st.integers(0, 10**13),
    owner=TEXTS,
    current_step=TEXTS,
    tags=st.dictionaries(st.sampled_from(["env", "T"]), st.text("ab", max_size=3)),
    failure=st.none() | st.builds(Failure, message=st.text("abAB ", max_size=8)),
    progress_percent=st.none() | st.floats(0, 100),
    metrics=st.dictionaries(
        st.sampled_from(["recordsProcessed", "recordsFailed"]), st.integers() | st.text(max_size=1)
    ),
)


@given(TREES, TREES, JOBS, st.integers(0, 10**13))
def test_the_logic_is_two_valued(one: f.Node, other: f.Node, job: Job, now: int) -> None:
    def holds(node: f.Node) -> bool:
        return f.matches(node, job, now)

    assert holds(f.negated(one)) is (not holds(one))
    assert holds(f.both(one, other)) is (holds(one) and holds(other))
    assert holds(f.either(one, other)) is (holds(one) or holds(other))


NARROW = st.text("ab", max_size=2)


@given(
    globs() | st.lists(NARROW, min_size=1, max_size=4).map(lambda pieces: f.Glob(tuple(pieces))),
    st.text("ab", max_size=6),
)
@example(f.Glob(("ab", "b")), "ab")
@example(f.Glob(("", "a", "a")), "a")
def test_a_glob_means_what_its_regular_expression_means(glob: f.Glob, text: str) -> None:
    folded = f.fold(text)
    pattern = re.compile(".*".join(re.escape(piece) for piece in glob.pieces), re.DOTALL)
    assert fits(glob, folded) is (pattern.fullmatch(folded) is not None)


def test_a_glob_of_many_stars_takes_no_time(make_job: MakeJob) -> None:
    node = f.parse("error:" + "a*" * 15 + "b", NOW)
    assert not f.matches(node, make_job(failure=Failure(message="a" * 200_000)), NOW)


@given(st.text(max_size=60) | st.text(st.sampled_from('status:failed tag.x"*()-<>=OR AND\\,'), max_size=60))
@example("\ud800:\x00")
@example("name:\ud800*")
def test_any_text_gives_a_tree_or_a_fault_with_its_column(text: str) -> None:
    try:
        node = f.parse(text, NOW)
    except Invalid as refused:
        (fault,) = refused.errors
        node, told = f.All(), fault.message
    else:
        told = "column 1: "
    assert re.match(r"column \d+: ", told)
    assert f.parse(f.canonical(node), NOW) == node
    f.live_fault(node)
    f.moved_by_samples(node)


def test_parameters_make_the_same_terms_as_the_grammar() -> None:
    assert f.any_of("status", ["failed", "Running"]) == f.parse("status:failed,running", NOW)
    assert f.any_of("name", ["orders_*"]) == f.parse("name:orders_*", NOW)
    assert f.any_of("tag.env", ["prod x"]) == f.parse('tag.env:"prod x"', NOW)
    assert f.any_of("owner", []) == f.All()
    with pytest.raises(Invalid) as caught:
        f.any_of("status", ["nope", "failed", "runing"])
    assert [fault.path for fault in caught.value.errors] == ["status", "status"]


def test_builders_flatten_so_that_equal_meanings_are_equal_trees() -> None:
    a, b, c = (f.parse(word, NOW) for word in "abc")
    assert f.both(f.both(a, b), f.All(), c) == f.parse("a b (c)", NOW) == f.And((a, b, c))
    assert f.either(f.either(a, b), c) == f.parse("a OR (b OR c)", NOW) == f.Or((a, b, c))
    assert f.both() == f.either() == f.parse("  ", NOW) == f.All()
    assert f.parse("a b OR c", NOW) == f.Or((f.And((a, b)), c))
    assert f.compile(f.parse("a  b", NOW)) is f.compile(f.parse("(a) b", NOW))


@pytest.mark.parametrize("text", ["duration>10m", "created<24h", "a OR -(started>1h b)", "finished>=1d"])
def test_what_changes_with_time_alone_cannot_be_live(text: str) -> None:
    assert "changes with time alone" in (f.live_fault(f.parse(text, NOW)) or "")


@pytest.mark.parametrize("text", ["", "status:failed crm", "created>2026-01-01", "-(progress>10 OR rows<5)"])
def test_what_changes_with_the_job_can_be_live(text: str) -> None:
    assert f.live_fault(f.parse(text, NOW)) is None


@pytest.mark.parametrize(
    ("text", "moved"),
    [("status:failed tag.env:x", False), ("", False), ("-(name:a OR rows>5)", True), ("step:x", True), ("crm", True)],
)
def test_it_is_known_which_filters_a_sample_can_move(text: str, moved: bool) -> None:
    assert f.moved_by_samples(f.parse(text, NOW)) is moved


def test_every_key_of_the_interface_is_known() -> None:
    listed = """status type name owner host source id error kind fingerprint step priority attempt duration progress
                rows failed rate created started finished health outcome"""
    assert list(f.KEYS) == listed.split()


@given(st.text(max_size=30))
def test_folding_touches_ascii_letters_alone(text: str) -> None:
    assume(not text.isascii())
    assert f.fold(text) == "".join(each.lower() if each.isascii() else each for each in text)


def test_metrics_of_any_kind_are_read_as_numbers_or_not_at_all(make_job: MakeJob) -> None:
    odd: list[Any] = ["5", None, True, [5], {"a": 5}]
    for value in odd:
        assert not f.matches(f.parse("rows>0", NOW), make_job(metrics={"recordsProcessed": value}), NOW)
