"""csv_processing over real files: what passes is written as it stood, what does not is a reject with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import etlmon.demo

FLIGHTS = Path(etlmon.demo.__file__).parent / "data" / "flights-2013-01-02.csv.gz"


def job(**more: Any) -> dict[str, Any]:
    return {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}} | more


def test_the_flights_come_out_as_they_went_in_but_for_the_cancelled_ones(room: Any) -> None:
    room.write("in.csv.gz", FLIGHTS.read_bytes())
    columns = {
        "year": {"type": "integer", "min": 2013, "max": 2013},
        "dep_time": {"type": "integer", "required": True, "null": ["", "NA"]},
        "arr_delay": {"type": "integer", "null": ["", "NA"]},
        "time_hour": {"type": "datetime"},
        "distance": {"type": "number", "min": 1},
    }
    result = room.run("csv_processing", job(source={"path": "in.csv.gz"}, columns=columns))
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(FLIGHTS.read_bytes()).decode())))
    assert result["status"] == "completed"
    flown = [row | {"arr_delay": row["arr_delay"].replace("NA", "")} for row in rows if row["dep_time"] != "NA"]
    assert list(csv.DictReader(io.StringIO(room.text("out.csv")))) == flown
    assert result["summary"]["recordsIn"] == len(rows) == 51955
    assert result["summary"]["recordsRejected"] == len(rows) - len(flown) == len(room.rejects())
    lines = gzip.decompress(FLIGHTS.read_bytes()).decode().splitlines()
    for reject in room.rejects()[:50]:
        assert list(reject["record"].values()) == lines[reject["line"] - 1].split(",")
        assert (reject["column"], reject["reason"]) == ("dep_time", "is missing")


def test_the_same_records_come_out_of_jsonl_and_sqlite(room: Any) -> None:
    room.write("in.csv", "id,name,price,paid\n1,ana,2.50,yes\n2,bo,,no\n")
    columns = {"id": {"type": "integer"}, "price": {"type": "number"}, "paid": {"type": "boolean"}}
    assert room.run("csv_processing", job(sink={"path": "a.jsonl"}, columns=columns))["status"] == "completed"
    assert [json.loads(line) for line in room.text("a.jsonl").splitlines()] == [
        {"id": 1, "name": "ana", "price": 2.5, "paid": True},
        {"id": 2, "name": "bo", "price": None, "paid": False},
    ]
