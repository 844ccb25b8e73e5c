"""field_mapping: the flights in another shape, and each kind of field, good and refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

import etlmon.demo

DATA = Path(etlmon.demo.__file__).parent / "data"


def job(fields: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"source": {"path": "in.csv"}, "sink": {"path": "out.jsonl"}, "fields": fields} | more


def mapped(room: Any, content: str, fields: list[dict[str, Any]], **more: Any) -> tuple[list[Any], list[Any]]:
    room.write("in.csv", content)
    result = room.run("field_mapping", job(fields, **more))
    assert result["status"] == "completed", result
    return [json.loads(line) for line in room.text("out.jsonl").splitlines()], room.rejects("out.jsonl.rejects.jsonl")


def test_the_flights_in_kilometres_with_their_carriers_names(room: Any) -> None:
    room.write("in.csv", gzip.decompress((DATA / "flights-2013-01-02.csv.gz").read_bytes()))
    room.write("airlines.csv", (DATA / "airlines.csv").read_bytes())
    fields = [
        {"to": "flight", "concat": ["carrier", "flight"], "separator": ""},
        {"to": "airline", "lookup": "carrier", "table": {"path": "airlines.csv", "key": "carrier", "value": "name"}},
        {"to": "km", "expr": "round(distance * 1.609, 1)"},
        {"to": "day", "date": "time_hour", "timezone": "America/New_York", "output": "%Y-%m-%d"},
        {"to": "late", "expr": "dep_delay > 15 if dep_delay != 'NA' else False"},
    ]
    result = room.run("field_mapping", job(fields, drop_if="dep_time == 'NA'"))
    assert result["status"] == "completed", result
    rows = list(csv.DictReader(io.StringIO(room.text("in.csv"))))
    flown = [row for row in rows if row["dep_time"] != "NA"]
    names = {row["carrier"]: row["name"] for row in csv.DictReader(io.StringIO(room.text("airlines.csv")))}
    found = [json.loads(line) for line in room.text("out.jsonl").splitlines()]
    assert [(each["flight"], each["airline"], each["km"], each["late"]) for each in found] == [
        (row["carrier"] + row["flight"], names[row["carrier"]], round(int(row["distance"]) * 1.609, 1),
         int(row["dep_delay"]) > 15)
        for row in flown
    ]  # fmt: skip
    assert {each["day"] for each in found[:5]} == {"2013-01-01"}
    summary = result["summary"]
    assert summary["recordsIn"] == len(rows) == summary["recordsOut"] + summary["recordsDropped"]
    assert summary["recordsRejected"] == 0
    assert len(room.rejects("out.jsonl.rejects.jsonl")) == summary["recordsDropped"] == len(rows) - len(flown)


@pytest.mark.parametrize(
    ("field", "made"),
    [
        ({"from": "n"}, "12"),
        ({"from": "n", "type": "integer"}, 12),
        ({"from": "none", "default": "unknown"}, "unknown"),
        ({"from": "none", "type": "integer"}, None),
        ({"concat": ["name", "n"], "separator": "-"}, "Ana Berg-12"),
        ({"split": "name", "separator": " ", "part": 1}, "Berg"),
        ({"split": "name", "separator": " ", "part": 5, "default": "-"}, "-"),
        ({"lookup": "n", "table": {"12": "dozen"}}, "dozen"),
        ({"lookup": "name", "table": {}, "missing": "default", "default": 0}, 0),
        ({"date": "day", "format": "%d.%m.%Y"}, "2026-03-29T00:00:00"),
        ({"date": "day", "format": "%d.%m.%Y", "timezone": "Europe/Rome"}, "2026-03-29T00:00:00+01:00"),
        ({"const": True}, True),
        ({"expr": "coalesce(none, upper(name))"}, "ANA BERG"),
    ],
)
def test_each_kind_of_field_makes_its_value(room: Any, field: dict[str, Any], made: object) -> None:
    found, rejects = mapped(room, "n,name,none,day\n12,Ana Berg,,29.03.2026\n", [{"to": "v", **field}])
    assert (found, rejects) == ([{"v": made}], [])


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"from": "n", "type": "integer"}, "not a whole number"),
        ({"lookup": "n", "table": {"1": "one"}}, "not in the lookup table"),
        ({"date": "n"}, "not a date and time"),
        ({"expr": "n * 2"}, "not a number"),
        ({"expr": "1 / zero"}, "division by zero"),
    ],
)
def test_what_cannot_be_made_is_a_reject_that_names_the_field(room: Any, field: dict[str, Any], why: str) -> None:
    found, rejects = mapped(room, "n,zero\nmany,0\n", [{"to": "v", **field}])
    assert found == []
    assert rejects[0]["column"] == "v"
    assert why in rejects[0]["reason"]
    assert rejects[0]["record"] == {"n": "many", "zero": "0"}


def test_unmapped_columns_are_kept_and_required_ones_are_there(room: Any) -> None:
    fields = [{"to": "key", "from": "id"}, {"to": "v", "expr": "v * 2"}]
    found, rejects = mapped(room, "id,v,w\n1,2,a\n,3,b\n", fields, keep_unmapped=True, required=["key"])
    assert found == [{"w": "a", "key": "1", "v": 4}]
    assert (rejects[0]["line"], rejects[0]["column"], rejects[0]["reason"]) == (3, "key", "is required and missing")


def test_every_field_that_does_not_fit_the_source_is_told_with_the_nearest_column(room: Any) -> None:
    room.write("in.csv", "distance,carrier\n1,UA\n")
    fields = [{"to": "a", "expr": "distnace * 2"}, {"to": "b", "from": "carier"}]
    message = room.run("field_mapping", job(fields))["failure"]["message"]
    assert "did you mean 'distance'" in message
    assert "did you mean 'carrier'" in message


def test_a_large_lookup_is_kept_on_disk(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlmon.pipelines.lookups.MAX_IN_MEMORY", 10)
    room.write("names.csv", "k,v\n" + "".join(f"{n},name {n}\n" for n in range(20_000)))
    field = {"to": "v", "lookup": "n", "table": {"path": "names.csv", "key": "k", "value": "v"}}
    found, rejects = mapped(room, "n\n7\n19999\n20000\n", [field])
    assert found == [{"v": "name 7"}, {"v": "name 19999"}]
    assert len(rejects) == 1
    assert list(room.work.glob("lookup-*.db"))
