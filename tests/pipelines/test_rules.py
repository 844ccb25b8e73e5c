"""Column rules, limits, expectations and places, each seen in what a job leaves behind."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.pipeline_shapes import Column
from etlmon.pipelines.columns import Bad, Rule


def job(**more: Any) -> dict[str, Any]:
    return {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}} | more


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"type": "integer"}, {"7": "7", " -3 ": "-3", "": "", "007": "007"}, ["7.5", "1_0", "١", "x", "9" * 500]),
        ({"type": "integer", "min": 1, "max": 10}, {"1": "1", "10": "10"}, ["0", "11"]),
        ({"type": "number", "min": 0}, {"1.50": "1.50", ".5": ".5", "1e3": "1e3"}, ["nan", "1e999", "-1", "1,5"]),
        ({"type": "boolean"}, {"YES": "true", "0": "false", "f": "false"}, ["maybe", "2"]),
        ({"type": "date"}, {"2026-02-28": "2026-02-28"}, ["2026-02-30", "20260228", "2026-W01-1"]),
        ({"type": "date", "format": "%d.%m.%Y"}, {"28.02.2026": "2026-02-28"}, ["2026-02-28"]),
        ({"type": "datetime"}, {"2026-02-28 10:00": "2026-02-28T10:00:00", "2026-02-28T10Z": "2026-02-28T10:00:00Z"},
         ["yesterday"]),
        ({"pattern": "[A-Z]{2}[0-9]+"}, {"UA12": "UA12"}, ["UA12x", "xUA12", "ua12"]),
        ({"enum": ["DE", "FR"]}, {"DE": "DE", " FR ": "FR"}, ["IT"]),
        ({"min": 2, "max": 3}, {"ab": "ab", "abc": "abc"}, ["a", "abcd"]),
        ({"required": True, "null": ["", "NA"]}, {"a": "a"}, ["", "NA", "  "]),
        ({"null": ["NA"], "default": "none"}, {"NA": "none", "a": "a"}, []),
        ({"trim": False}, {" a ": " a "}, []),
    ],
)  # fmt: skip
def test_a_rule_passes_and_refuses(room: Any, rule: dict[str, Any], good: dict[str, str], bad: list[str]) -> None:
    values = [*good, *bad]
    room.write(
        "in.csv",
        "id,v\n"
        + "".join(f"{n},{json.dumps(value, ensure_ascii=False)}\n" for n, value in enumerate(values)).replace("\\", ""),
    )
    result = room.run("csv_processing", job(columns={"v": rule}))
    assert result["status"] == "completed", result
    assert [line.partition(",")[2] for line in room.text("out.csv").splitlines()[1:]] == list(good.values())
    assert [reject["record"]["v"] for reject in room.rejects()] == bad
    assert all(reject["column"] == "v" for reject in room.rejects())


VALUE = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=True).map(str),
    st.datetimes().map(lambda at: at.isoformat()),
    st.sampled_from(["", "NA", " 1", "1_0", "+5", "-", "1e5", "2026-01-01T00:00:00Z", "true", "٣", "1.", "9" * 401]),
    st.text(max_size=5),
)


@given(
    values=st.lists(VALUE, min_size=1, max_size=30),
    kind=st.sampled_from(["string", "integer", "number", "boolean", "date", "datetime"]),
    null=st.sampled_from([("",), ("", "NA"), ("NA", "1")]),
    required=st.booleans(),
    low=st.sampled_from([None, 0]),
)
def test_a_whole_column_is_judged_as_its_values_are_one_by_one(
    values: list[str], kind: str, null: tuple[str, ...], required: bool, low: int | None
) -> None:
    column = Column(
        name="v", type=kind, null=null, required=required, low=low if kind in ("integer", "number") else None
    )
    whole, bad = Rule(column, typed=False).check(values, texts=True)
    for at, value in enumerate(values):
        one = Rule(column, typed=False)._one(value)
        assert isinstance(one, Bad) == (at in bad)
        if not isinstance(one, Bad):
            assert whole[at] == one


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_a_number_of_endless_digits_is_refused_in_any_company(kind: str) -> None:
    column = Column(name="v", type=kind)
    for company in ([], ["1"], ["1", "x"]):
        assert list(Rule(column, typed=False).check([*company, "9" * 401], texts=True)[1])[-1] == len(company)


def test_repeats_in_a_unique_column_are_rejects_that_name_the_first(room: Any) -> None:
    room.write("in.csv", "id,v\n1,a\n2,b\n1,c\n,d\n,e\nx,f\n2,g\n")
    result = room.run("csv_processing", job(columns={"id": {"type": "integer", "unique": True}}, batch_rows=2))
    assert result["status"] == "completed"
    assert room.text("out.csv") == "id,v\n1,a\n2,b\n,d\n,e\n"
    assert [(each["line"], each["reason"]) for each in room.rejects()] == [
        (4, "repeats the value of in.csv, line 2"),
        (7, "'x' is not a whole number"),
        (8, "repeats the value of in.csv, line 3"),
    ]


def test_columns_are_renamed_dropped_added_and_reordered_files_fit(room: Any) -> None:
    room.write("a.csv", "id,name\n1,ana\n")
    room.write("b.csv", "name,id\nbo,2\n")
    columns = {"id": {"rename": "key"}, "origin": {"default": "import"}}
    result = room.run("csv_processing", job(source={"path": "?.csv"}, columns=columns, unknown_columns="drop"))
    assert result["status"] == "completed"
    assert room.text("out.csv") == "key,origin\n1,import\n2,import\n"


@pytest.mark.parametrize(
    ("columns", "more", "told"),
    [
        ({"nmae": {"required": True}}, {}, "did you mean 'name'"),
        ({"id": {}}, {"unknown_columns": "reject"}, "'name'"),
    ],
)
def test_a_header_that_does_not_fit_fails_with_the_nearest_name(
    room: Any, columns: dict[str, Any], more: dict[str, Any], told: str
) -> None:
    room.write("in.csv", "id,name\n1,ana\n")
    result = room.run("csv_processing", job(columns=columns, **more))
    assert result["status"] == "failed"
    assert result["failure"]["step"] == "Processing headers"
    assert told in result["failure"]["message"]


@pytest.mark.parametrize("limit", [{"max": 3}, {"max_rate": 0.01}])
def test_too_many_rejects_fail_the_job_and_say_which_limit(room: Any, limit: dict[str, Any]) -> None:
    room.write("in.csv", "id\n" + "".join(f"{n if n % 10 else 'x'}\n" for n in range(2000)))
    room.write("out.csv", "as it was")
    result = room.run("csv_processing", job(columns={"id": {"type": "integer"}}, rejects=limit, batch_rows=50))
    assert result["status"] == "failed"
    assert f"rejects.{next(iter(limit))}" in result["failure"]["message"]
    assert room.text("out.csv") == "as it was"
    assert len(room.rejects()) == (4 if "max" in limit else 100)


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ({"min_rows": 3}, "at least 3"),
        ({"max_rows": 1}, "at most 1"),
        ({"sum": {"price": 0.4}}, "the sum of price is 0.3"),
    ],
)
def test_an_output_that_is_not_what_was_expected_is_not_put_in_place(
    room: Any, expect: dict[str, Any], told: str
) -> None:
    room.write("in.csv", "price\n0.1\n0.2\n")
    result = room.run("csv_processing", job(columns={"price": {"type": "number"}}, expect=expect))
    assert (result["status"], result["failure"]["step"]) == ("failed", "Validating results")
    assert told.lower() in result["failure"]["message"].lower()
    assert room.left() == ["in.csv"]


def test_a_sum_is_exact(room: Any) -> None:
    room.write("in.csv", "price\n" + "0.1\n" * 10)
    job_ = job(columns={"price": {"type": "number"}}, expect={"sum": {"price": 1.0}})
    assert room.run("csv_processing", job_)["status"] == "completed"


def test_sqlite_to_sqlite_keeps_the_targets_indexes_and_only_reads(room: Any) -> None:
    with contextlib.closing(sqlite3.connect(room.files / "in.db")) as db:
        db.execute("CREATE TABLE orders (id INTEGER, name TEXT)")
        db.executemany("INSERT INTO orders VALUES (?, ?)", [(1, "ana"), (2, None), (3, b"\xff")])
        db.commit()
    with contextlib.closing(sqlite3.connect(room.files / "out.db")) as db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)")
        db.execute("CREATE INDEX by_name ON orders (name)")
        db.execute("INSERT INTO orders VALUES (9, 'old')")
        db.commit()
    sink = {"path": "out.db", "table": "orders"}
    source = {"path": "in.db", "table": "orders"}
    result = room.run("csv_processing", job(source=source, sink=sink))
    assert result["status"] == "completed"
    assert result["summary"]["recordsRejected"] == 1
    with contextlib.closing(sqlite3.connect(room.files / "out.db")) as db:
        assert db.execute("SELECT * FROM orders").fetchall() == [(1, "ana"), (2, None)]
        assert db.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall() == [("by_name",)]
    for query in ("DELETE FROM orders", "ATTACH '/etc/passwd' AS x", "SELECT 1; SELECT 2", "PRAGMA user_version = 3"):
        refused = room.run("csv_processing", job(source={"path": "in.db", "query": query}, sink=sink))
        assert refused["status"] == "failed", query


def test_paths_outside_of_what_is_allowed_are_refused_however_they_are_written(room: Any) -> None:
    outside = room.path / "outside"
    outside.mkdir()
    (outside / "in.csv").write_text("id\n1\n")
    (room.files / "link").symlink_to(outside)
    (room.files / "link.csv").symlink_to(outside / "in.csv")
    room.write("in.csv", "id\n1\n")
    for path in ("../outside/in.csv", str(outside / "in.csv"), "link/in.csv", "link.csv", "../outside/*.csv", "*.csv"):
        result = room.run("csv_processing", job(source={"path": path, "kind": "csv"}))
        assert (result["status"], result["failure"]["kind"]) == ("failed", "rejected"), path
    for path in ("../outside/out.csv", "link/out.csv"):
        result = room.run("csv_processing", job(sink={"path": path}))
        assert {fault["path"] for fault in result["summary"]["faults"]} == {"sink.path", "rejects.path"}
    assert [path.name for path in outside.iterdir()] == ["in.csv"]


def test_jsonl_records_with_other_keys_or_no_json_are_rejects(room: Any) -> None:
    lines = ['{"id": 1, "tags": ["a"]}', "nonsense", "[1]", "", '{"id": "x"}', '{"id": 4, "tags": null}']
    room.write("in.jsonl", "\n".join(lines))
    result = room.run("csv_processing", job(source={"path": "in.jsonl"}, columns={"id": {"type": "integer"}}))
    assert result["status"] == "completed"
    assert room.text("out.csv") == 'id,tags\n1,"[""a""]"\n4,\n'
    assert [each["line"] for each in room.rejects()] == [2, 3, 5]


def test_standard_input_is_read_when_the_spec_is_in_a_file(room: Any) -> None:
    import subprocess
    import sys

    spec = room.write("spec.json", json.dumps(room.spec("csv_processing", job(source={"path": "-"}))))
    env = {"ETLMON_URL": "http://127.0.0.1:9", "ETLMON_TOKEN": "x", "ETLMON_DATA_DIR": str(room.path / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "etlmon.pipelines", str(spec)], input=b"id\n1\n", env=env, capture_output=True
    )
    assert json.loads(done.stdout)["status"] == "completed", done.stderr
    assert room.text("out.csv") == "id\n1\n"
