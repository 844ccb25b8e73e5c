"""A pipeline's config is checked whole: every fault with its path. Expressions hold nothing but what is allowed."""

from __future__ import annotations

import ast
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.errors import Invalid
from etlmon.core.pipeline_config import parse_pipeline
from etlmon.core.pipeline_expression import compile_expression, names_of
from etlmon.core.pipeline_shapes import ApiUpload


def faults(kind: str, config: object) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        parse_pipeline(kind, config)
    return {fault.path: fault.message for fault in refusal.value.errors}


def test_every_fault_is_told_at_once_with_its_path() -> None:
    found = faults(
        "csv_processing",
        {
            "source": {"path": [], "kind": "csw", "format": {"delimiter": ",,", "encoding": "utf-9", "headers": True}},
            "sink": {"path": "out.parquet", "mode": "append"},
            "columns": {"id": {"type": "integr", "min": "low", "unque": True}, "day": {"type": "date", "min": "soon"}},
            "expect": {"min_rows": 5, "max_rows": 2, "sum": {"id": "7"}},
            "rejects": {"max_rate": 2},
            "batch_row": 100,
        },
    )
    assert found.keys() == {
        "source.path", "source.kind", "source.format.delimiter", "source.format.encoding", "source.format.headers",
        "sink.mode", "columns.id.type", "columns.id.min", "columns.id.unque", "columns.day.min",
        "expect.min_rows", "expect.sum.id", "rejects.max_rate", "batch_row",
    }  # fmt: skip
    assert "did you mean 'batch_rows'?" in found["batch_row"]
    assert "did you mean 'integer'?" in found["columns.id.type"]


def test_a_mapping_tells_of_each_field() -> None:
    found = faults(
        "field_mapping",
        {
            "source": {"path": "a.csv"},
            "sink": {"path": "b.csv"},
            "fields": [
                {"to": "a", "from": "x", "expr": "y"},
                {"to": "b", "expr": "__import__('os')"},
                {"to": "b", "lookup": "x", "table": {"path": "t.csv", "kye": "k"}},
                {"to": "c", "split": "x", "separator": "", "part": -1},
                "nonsense",
            ],
            "required": ["d"],
        },
    )
    assert {
        "fields[0].to",
        "fields[1].expr",
        "fields[2].to",
        "fields[2].table.kye",
        "fields[3].separator",
    } <= found.keys()
    assert {"fields[3].part", "fields[4]", "required"} <= found.keys()


def test_an_upload_tells_what_is_wrong_and_never_shows_a_value() -> None:
    found = faults(
        "api_upload",
        {
            "source": {"path": "a.csv"},
            "url": "ftp://user:pw@host/",
            "headers": {"X": {"env": "ETLMON_TOKEN"}, "Y": 5, "Host": "a", "Z": "a\nb"},
            "body": "xml",
            "retry": {"attempts": 0, "base": 5, "statuses": ["500"]},
            "timeout": "soon",
        },
    )
    assert found.keys() == {
        "url", "headers.X", "headers.Y", "headers.Host", "headers.Z", "body", "retry.attempts", "retry.base",
        "retry.statuses", "timeout",
    }  # fmt: skip
    good = parse_pipeline("api_upload", {"source": {"path": "a.csv"}, "url": "http://h/", "headers": {"A": "s3cret"}})
    assert isinstance(good, ApiUpload)
    assert "s3cret" not in repr(good)


@pytest.mark.parametrize("kind", ["csv_procesing", "command", ""])
def test_a_type_that_is_no_pipeline_is_refused(kind: str) -> None:
    assert "type" in faults(kind, {})


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["source", "sink", "path", "columns", "fields", "to", "expr", "url", "headers", "retry", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(kind=st.sampled_from(["csv_processing", "field_mapping", "api_upload"]), config=JUNK)
def test_junk_is_refused_and_never_breaks_the_check(kind: str, config: Any) -> None:
    with pytest.raises(Invalid):
        parse_pipeline(kind, config)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("round(distance * 1.609, 1)", 1609.0),
        ("a + b", 5),
        ("name + '!'", "Ana!"),
        ("a // 2 + b % 2 - -1", 3),
        ("a < b <= 3 and not name == 'x'", True),
        ("'yes' if a == 2.0 else 'no'", "yes"),
        ("a == '2'", True),
        ("min(a, b, 1) + max(a, 9) + abs(-1) + len(name)", 14),
        ("replace(lower(name), 'a', 'o')", "ono"),
        ("coalesce(none, null_, 'x')", "x"),
        ("strip('  x ')", "x"),
    ],
)
def test_an_expression_has_its_value(text: str, value: object) -> None:
    row = {"distance": "1000", "a": "2", "b": "3", "name": "Ana", "none": "", "null_": None}
    places = {name: at for at, name in enumerate(row)}
    assert compile_expression(text, places)(list(row.values())) == value


@pytest.mark.parametrize(
    "text",
    ["a ** 2", "a.b", "a[0]", "lambda: 1", "[1]", "{}", "f'{a}'", "(x := 1)", "open('x')", "a(1)", "__import__('os')",
     "a if b", "[x for x in a]", "~a", "a << 3", "a @ b", "b'x'", "1j", "...", "min(*a)", "round(a, n=1)", "a is b",
     "a in b", "1" * 100, "(" * 500, "not " * 100 + "a", "a +", "", "x" * 5000, "round()", "abs(1, 2)", "\x00"],
)  # fmt: skip
def test_what_is_not_allowed_in_an_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        names_of(text)


@pytest.mark.parametrize(
    "text", ["a * a * a * a * a", "'a' * 5", "replace(a, '1', a)", "big * big", "1 / 0", "name + 1", "a < name"]
)
def test_an_expression_that_would_cost_too_much_or_makes_no_sense_fails_for_that_record(text: str) -> None:
    row = {"a": "1" * 399, "big": "1e300", "name": "Ana"}
    row["a"] = "1" * 399 if "replace" not in text else "1" * 5000
    with pytest.raises(ValueError, match=r"\w"):
        compile_expression(text, {"a": 0, "big": 1, "name": 2})(list(row.values()))


NUMBER = st.integers(-1000, 1000).map(str) | st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: f"{value:.3f}")
EXPRESSION = st.recursive(
    NUMBER | st.sampled_from(["(a + 0)", "(b + 0)"]),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/%"), inner)
        | st.builds("min({}, {})".format, inner, inner)
    ),
    max_leaves=8,
)


@given(text=EXPRESSION, a=st.integers(-50, 50), b=st.floats(-50, 50, allow_nan=False))
def test_arithmetic_is_pythons(text: str, a: int, b: float) -> None:
    try:
        wanted = eval(compile(ast.parse(text, mode="eval"), "", "eval"), {"a": a, "b": b, "min": min})
    except (ZeroDivisionError, OverflowError):
        wanted = math.inf
    try:
        found = compile_expression(text, {"a": 0, "b": 1})([str(a), repr(b)])
    except ValueError:
        assert not math.isfinite(wanted) or abs(wanted) >= 1e50 or isinstance(wanted, complex)
    else:
        assert found == wanted
