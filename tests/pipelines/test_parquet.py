"""The parquet sink, where pyarrow is installed and where it is not."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

JOB = {
    "source": {"path": "in.csv"},
    "sink": {"path": "out.parquet"},
    "columns": {"id": {"type": "integer"}, "price": {"type": "number"}, "paid": {"type": "boolean"}},
}
HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_columns_have_their_types(room: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    room.write("in.csv", "id,price,paid,name\n1,2.5,yes,ana\n,,,\n")
    assert room.run("csv_processing", JOB)["status"] == "completed"
    assert parquet.read_table(room.files / "out.parquet").to_pylist() == [
        {"id": 1, "price": 2.5, "paid": True, "name": "ana"},
        {"id": None, "price": None, "paid": None, "name": ""},
    ]
    assert room.left() == ["in.csv", "out.parquet", "out.parquet.rejects.jsonl"]


@pytest.mark.skipif(HAS_PYARROW, reason="pyarrow is installed")
def test_without_pyarrow_the_job_is_refused_and_told_what_to_install(room: Any) -> None:
    room.write("in.csv", "id\n1\n")
    result = room.run("csv_processing", JOB)
    assert (result["status"], result["failure"]["kind"]) == ("failed", "rejected")
    assert "etlmon[parquet]" in result["failure"]["suggestedActions"][0]
    assert room.left() == ["in.csv"]
