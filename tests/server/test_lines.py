"""Lines: made into columns all at once, they are what each would be when taken by itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core import reports as r
from etlmon.core.instants import from_datetime
from etlmon.core.job import LogLine, parse_level
from etlmon.core.text import clean_json, clean_line, clean_name
from etlmon.server.lines import Batching, LineOwner, columns_of
from etlmon.server.store.logs.columns import Columns

NOW = 1_763_865_407_000
MAX_BYTES = 40
OWNERS = {
    "a": LineOwner("orders_nightly", "load", 1),
    "b": LineOwner("crm_sync", None, 3),
    "gone": LineOwner("", None, 1, "it is over"),
}


def report(
    job: str, at: str | None, message: str, level: str, logger: str | None, step: str | None, fields: Any
) -> r.Log:
    given: dict[str, Any] = {"kind": "log", "jobId": job, "at": at, "message": message, "level": level}
    given |= {"logger": logger, "step": step} | ({} if fields is ... else {"fields": fields})
    return msgspec.json.decode(json.dumps(given), type=r.Log)


reports = st.builds(
    report,
    job=st.sampled_from(["a", "a", "a", "b", "gone"]),
    at=st.sampled_from([None, "2025-11-23T02:36:46.123Z", "2025-11-23T02:36:46.124Z", "2031-01-01T00:00:00+01:00"]),
    message=st.text(st.sampled_from("ab \u00e4\x00\u20ac"), max_size=12) | st.sampled_from(["plain", "long " * 20]),
    level=st.sampled_from(["info", "info", "warning", "ERROR", "warn", "loud"]),
    logger=st.sampled_from([None, "root", "ro\x1bot"]),
    step=st.sampled_from([None, "load", "other\x07"]),
    fields=st.sampled_from([..., ..., ..., None, {"row": 1}, {"nul": "\x00"}, [1], {"big": "x" * 17_000}]),
)
plain = st.builds(
    report,
    job=st.just("a"), at=st.none(), message=st.just("plain"), level=st.just("info"), logger=st.none(), step=st.none(),
    fields=st.just(...),
)  # fmt: skip


def alone(line: r.Log, seq: int, skew_ms: int) -> LogLine | None:
    """The line taken by itself; None when it is refused."""
    owner = OWNERS[line.job_id]
    fields = None if isinstance(line.fields, msgspec.UnsetType) else clean_json(bytes(line.fields))
    try:
        level = parse_level(line.level)
    except ValueError:
        return None
    decoded = None if fields is None else json.loads(fields)
    if owner.refused or not isinstance(decoded, dict | None) or len(fields or b"") > 16_384:
        return None
    return LogLine(
        seq,
        line.job_id,
        owner.name,
        NOW if line.at is None else min(NOW, from_datetime(line.at) + skew_ms),
        level,
        clean_line(line.message, MAX_BYTES),
        None if line.logger is None else clean_name(line.logger),
        owner.step if line.step is None else clean_name(line.step),
        None if fields is None else msgspec.Raw(fields),
        owner.attempt,
    )


@given(st.lists(reports | plain, min_size=1, max_size=12), st.integers(-5000, 5000))
def test_lines_made_together_are_those_made_alone(run: list[r.Log], skew_ms: int) -> None:
    columns, refused = columns_of(run, 7, Batching(OWNERS, NOW, skew_ms, MAX_BYTES))
    expected: list[LogLine] = []
    bad: list[int] = []
    for place, line in enumerate(run):
        made = alone(line, 7 + len(expected), skew_ms)
        if made is None:
            bad.append(place)
        else:
            expected.append(made)
    assert columns.lines() == expected
    assert [place for place, _ in refused] == bad
    assert all(why for _, why in refused)


@given(st.lists(st.lists(reports, min_size=1, max_size=5), min_size=1, max_size=5))
def test_columns_joined_are_all_their_lines(runs: list[list[r.Log]]) -> None:
    first, several = 1, list[Columns]()
    for run in runs:
        columns, _ = columns_of(run, first, Batching(OWNERS, NOW, 0, MAX_BYTES))
        if columns.seqs:
            several.append(columns)
            first += len(columns.seqs)
    lines = [line for columns in several for line in columns.lines()]
    if several:
        assert Columns.joined(several).lines() == lines == Columns.of(lines).lines()
        assert [line for columns in several for line in columns.lines()] == lines
