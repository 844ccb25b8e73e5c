"""Intake: any body gets a batch or a fault that says what to do; a bad report never takes a good one with it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core import reports as r
from etlmon.core.errors import Invalid, Malformed
from etlmon.server.intake import Batch, parse_batch

NOW = 1_763_865_407_000
PRODUCER = "0190f6aa-0000-7000-8000-000000000000"


def parse(body: Any) -> Batch:
    return parse_batch(body if isinstance(body, bytes) else json.dumps(body).encode(), NOW)


def log(message: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"kind": "log", "jobId": "j1", "message": message, **fields}


def test_a_good_batch_comes_through_whole() -> None:
    batch = parse({"producer": PRODUCER, "seq": 3, "reports": [log(), log("b")]})
    assert (batch.size, len(batch.reports), batch.refused, batch.seq, batch.has_lines) == (2, 2, [], 3, True)


@pytest.mark.parametrize("fields", [{"row": 17}, {}, {"deep": {"er": [1, "\u0000"]}}])
def test_the_fields_of_a_line_are_taken_and_kept_as_they_came(fields: dict[str, Any]) -> None:
    batch = parse({"reports": [log(fields=fields), log(fields=None), log()]})
    assert batch.refused == []
    kept = [report.fields for report in batch.reports if isinstance(report, r.Log)]
    assert json.loads(bytes(kept[0])) == fields
    assert (bytes(kept[1]), kept[2]) == (b"null", msgspec.UNSET)


def test_bad_reports_are_refused_by_index_and_the_rest_kept() -> None:
    wrong = [{"kind": "nonsense", "jobId": "j"}, {"kind": "progress", "jobId": "j", "progressPercent": "many"}, 7]
    batch = parse({"reports": [log(), *wrong, log()]})
    assert batch.indexes == [0, 4]
    assert [refusal.index for refusal in batch.refused] == [1, 2, 3]


def test_an_unknown_key_names_the_nearest_one() -> None:
    batch = parse({"reports": [log(mesage="x")]})
    assert "message" in batch.refused[0].why
    with pytest.raises(Invalid, match="reports"):
        parse({"report": []})


def test_kinds_are_taken_in_any_case() -> None:
    batch = parse({"reports": [{"kind": "Job_Started", "jobId": "j1"}]})
    assert isinstance(batch.reports[0], r.JobStarted)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"nonsense", b"[" * 100_000, b'{"reports":' + b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe",
     b'{"reports":[{"kind":"progress","jobId":"j","progressPercent":NaN}]}', b'{"reports":{}}', b'{"reports":null}'],
)  # fmt: skip
def test_what_is_not_a_batch_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises((Malformed, Invalid)) as fault:
        parse(body)
    assert fault.value.detail.endswith(".")


def test_a_report_that_is_a_nest_of_brackets_is_refused_alone() -> None:
    nest = b"[" * 50_000 + b"]" * 50_000
    body = b'{"reports":[' + json.dumps(log()).encode() + b',{"kind":"log","jobId":"j","fields":' + nest + b"}]}"
    try:
        batch = parse(body)
    except Malformed:
        return
    assert batch.indexes == [0]


def test_a_lone_surrogate_costs_nobody_their_batch() -> None:
    batch = parse(b'{"reports":[{"kind":"log","jobId":"j","message":"a\\ud800b"},{"kind":"heartbeat","jobId":"j"}]}')
    line = batch.reports[0]
    assert isinstance(line, r.Log)
    assert line.message == "a\ufffdb"
    assert len(batch.reports) == 2


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ({"seq": 1}, "producer"),
        ({"producer": PRODUCER}, "seq"),
        ({"producer": "x", "seq": 1}, "UUID"),
        ({"producer": PRODUCER, "seq": 0}, "seq"),
        ({"producer": PRODUCER, "seq": "1"}, "int"),
    ],
)
def test_an_envelope_that_makes_no_sense_is_refused(extra: dict[str, Any], word: str) -> None:
    with pytest.raises(Invalid, match=word):
        parse({"reports": [], **extra})


def test_the_hash_is_of_the_reports_alone_so_that_a_repeat_may_be_sent_at_another_time() -> None:
    head = {"producer": PRODUCER, "seq": 1, "reports": [log()]}
    one = parse(head | {"sentAt": "2025-11-23T02:36:47Z"})
    two = parse(head | {"sentAt": "2025-11-23T02:36:48Z"})
    other = parse(head | {"reports": [log("other")]})
    assert one.hash == two.hash != other.hash


def test_a_clock_that_is_off_is_noticed_and_the_networks_delay_is_not_taken_for_it() -> None:
    assert parse({"reports": [], "sentAt": "2025-11-23T01:36:47Z"}).skew_ms == 3_600_000
    assert parse({"reports": [], "sentAt": "2025-11-23T02:36:46Z"}).skew_ms == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    ["kind", "jobId", "at", "message", "level", "progressPercent", "steps", "tags", "failure", "metrics", "from"]
)
reports = st.dictionaries(keys, json_values | st.sampled_from([*r.KINDS, "j1", "2025-11-23T02:36:47Z"]), max_size=6)


@given(st.lists(reports, max_size=6))
def test_every_report_is_either_taken_or_refused(given_reports: list[dict[str, Any]]) -> None:
    batch = parse({"reports": given_reports})
    indexes = [batch.index(place) for place in range(len(batch.reports))] + [refusal.index for refusal in batch.refused]
    assert sorted(indexes) == list(range(len(given_reports)))


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_gets_anything_but_a_batch_or_a_fault_of_ours(body: bytes) -> None:
    with contextlib.suppress(Malformed, Invalid):
        parse(body)
