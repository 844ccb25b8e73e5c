"""Parquet (extra ``etlmon[parquet]``): staged as JSON Lines, which a crash cannot harm, and converted at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from etlmon.core.pipeline_values import written
from etlmon.pipelines.batch import Table
from etlmon.pipelines.ends import PipelineFailed
from etlmon.pipelines.staging import StagedFile
from etlmon.pipelines.text_sinks import JsonLinesSink

ROW_GROUP = 20_000


class ParquetSink:
    """Columns of type integer, number and boolean are that in the file; all others are texts."""

    typed = True

    def __init__(self, target: Path, key: str) -> None:
        _pyarrow()
        self._lines = JsonLinesSink(target, f"{key}.jsonl", append=False)
        self._source = StagedFile(target, f"{key}.jsonl").part
        self._staged = StagedFile(target, key)
        self._names: tuple[str, ...] = ()
        self._kinds: tuple[str | None, ...] = ()

    def open(self, names: Sequence[str], kinds: Sequence[str | None], state: dict[str, int]) -> None:
        """Begin, or go on."""
        self._names, self._kinds = tuple(names), tuple(kinds)
        self._lines.open(names, kinds, state)

    def write(self, table: Table) -> None:
        """Add records."""
        self._lines.write(table)

    def sync(self) -> dict[str, int]:
        """Bring all to the disk."""
        return self._lines.sync()

    def seal(self) -> None:
        """Convert, one row group at a time."""
        self._lines.seal()
        arrow, parquet = _pyarrow()
        types = {"integer": arrow.int64(), "number": arrow.float64(), "boolean": arrow.bool_()}
        schema = arrow.schema(
            [(name, types.get(kind or "", arrow.string())) for name, kind in zip(self._names, self._kinds, strict=True)]
        )
        with parquet.ParquetWriter(self._staged.part, schema) as writer:
            for rows in self._groups():
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
        with open(self._staged.part, "rb") as file:
            os.fsync(file.fileno())

    def _groups(self) -> Iterator[list[dict[str, Any]]]:
        texts = [name for name, kind in zip(self._names, self._kinds, strict=True) if kind not in _NUMERIC]
        rows: list[dict[str, Any]] = []
        with open(self._source, "rb") as lines:
            for line in lines:
                row: dict[str, Any] = msgspec.json.decode(line)
                for name in texts:
                    if row[name] is not None and not isinstance(row[name], str):
                        row[name] = written(row[name])
                rows.append(row)
                if len(rows) == ROW_GROUP:
                    yield rows
                    rows = []
        if rows:
            yield rows

    def place(self) -> None:
        """Move into place."""
        self._staged.place(append=False)
        self._lines.discard()

    def discard(self) -> None:
        """Remove what was staged."""
        self._staged.discard()
        self._lines.discard()


_NUMERIC = ("integer", "number", "boolean")


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise PipelineFailed(
            "Parquet files cannot be written here: pyarrow is not installed.",
            "Install it on the worker's machine: pip install 'etlmon[parquet]'.",
            kind="rejected",
        ) from None
