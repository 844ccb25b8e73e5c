"""CSV and JSON Lines: staged files that are moved into place whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from etlmon.core.pipeline_shapes import Format
from etlmon.core.pipeline_values import written
from etlmon.pipelines.batch import Table
from etlmon.pipelines.csv_source import CsvFile
from etlmon.pipelines.ends import PipelineFailed
from etlmon.pipelines.staging import StagedFile


class CsvSink:
    """Comma, double quotes where needed, UTF-8, newline; a header always."""

    typed = False

    def __init__(self, target: Path, key: str, *, append: bool) -> None:
        self._staged = StagedFile(target, key)
        self._append = append

    def open(self, names: Sequence[str], kinds: Sequence[str | None], state: dict[str, int]) -> None:
        """Begin with the header; a file that is appended to has one, which must be the same."""
        length = state.get("bytes", 0)
        self._staged.open(length)
        if length or self._continues(names):
            return
        self._staged.file.write(csv_text([tuple(names)]).encode())

    def _continues(self, names: Sequence[str]) -> bool:
        target = self._staged.target
        if not self._append or not target.exists() or not target.stat().st_size:
            return False
        there = CsvFile(target, Format(), 1)
        try:
            there.read_header()
        finally:
            there.close()
        if there.names != tuple(names):
            raise PipelineFailed(
                f"{target.name} has the columns {', '.join(there.names)}, and {', '.join(names)} would be appended.",
                "Make the columns the same, in the same order, or set sink.mode to replace.",
            )
        return True

    def write(self, table: Table) -> None:
        """Add records; those that are their own text as they are."""
        if table.n:
            text = "\n".join(table.lines) + "\n" if table.lines is not None else csv_text(table.rows())
            self._staged.file.write(text.encode("utf-8", "surrogatepass"))

    def sync(self) -> dict[str, int]:
        """Bring all to the disk."""
        return {"bytes": self._staged.sync()}

    def seal(self) -> None:
        """Nothing more comes."""
        self._staged.seal(append=self._append)

    def place(self) -> None:
        """Move into place."""
        self._staged.place(append=self._append)

    def discard(self) -> None:
        """Remove what was staged."""
        self._staged.discard()


def csv_text(rows: Any) -> str:
    """Rows as CSV. A carriage return in a field is quoted as well, which csv leaves to its line end."""
    held = rows if isinstance(rows, list) else list(rows)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(held)
    text = out.getvalue()
    if "\r" not in text:
        return text
    out = io.StringIO()
    plain, careful = csv.writer(out, lineterminator="\n"), csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in held:
        (careful if any("\r" in cell for cell in row if isinstance(cell, str)) else plain).writerow(row)
    return out.getvalue()


class JsonLinesSink:
    """One object per line, UTF-8, null for what is missing."""

    typed = True

    def __init__(self, target: Path, key: str, *, append: bool) -> None:
        self._staged = StagedFile(target, key)
        self._append = append
        self._encoder = msgspec.json.Encoder()
        self._names: tuple[str, ...] = ()

    def open(self, names: Sequence[str], kinds: Sequence[str | None], state: dict[str, int]) -> None:
        """Begin, or go on."""
        self._names = tuple(names)
        self._staged.open(state.get("bytes", 0))

    def write(self, table: Table) -> None:
        """Add records."""
        names = self._names
        records = [dict(zip(names, row, strict=True)) for row in table.rows()]
        self._staged.file.write(self._encoder.encode_lines(records))

    def sync(self) -> dict[str, int]:
        """Bring all to the disk."""
        return {"bytes": self._staged.sync()}

    def seal(self) -> None:
        """Nothing more comes."""
        self._staged.seal(append=self._append)

    def place(self) -> None:
        """Move into place."""
        self._staged.place(append=self._append)

    def discard(self) -> None:
        """Remove what was staged."""
        self._staged.discard()


def as_texts(column: Sequence[Any]) -> list[str]:
    """A column of any values as CSV cells; lists and tables as JSON."""
    return [cell_of(value) for value in column]


def cell_of(value: Any) -> str:
    """A value as a CSV cell."""
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else written(value)
