"""JSON Lines as batches. The columns are the keys of the records at the beginning of the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from etlmon.core.pipeline_shapes import Format
from etlmon.pipelines.batch import Batch, Reject
from etlmon.pipelines.blocks import Block, TextFile, count_lines
from etlmon.pipelines.csv_source import SHOWN, is_text


class JsonLinesFile:
    """One JSON Lines file."""

    def __init__(self, path: Path, form: Format, batch_rows: int, *, extra: str = "ignore") -> None:
        self.file = TextFile(path, form)
        self.names: tuple[str, ...] = ()
        self.extra = extra
        """What becomes of a record with a key that is no column: ``reject`` or ``ignore``."""
        self._batch_rows = batch_rows
        self._decoder = msgspec.json.Decoder()

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    @property
    def bytes_read(self) -> int:
        """How far the file was read."""
        return self.file.bytes_read

    def read_header(self) -> dict[str, int]:
        """Learn the columns from the first block."""
        found: dict[str, None] = {}
        for block in self.file.blocks():
            for line in block.text.split("\n"):
                record = self._decoded(line)
                if isinstance(record, dict):
                    found |= dict.fromkeys(record)
            break
        self.names = tuple(found)
        return {}

    def _decoded(self, line: str) -> Any:
        try:
            return self._decoder.decode(line) if line.strip() else None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None

    def batches(self, position: dict[str, int]) -> Iterator[Batch]:
        """The records from a position on."""
        skip = position.get("skip", 0)
        for block in self.file.blocks(position.get("base", 0), position.get("line", 0)):
            if skip and (n := count_lines(block.text)) <= skip:
                skip -= n
                continue
            lines = block.text.split("\n")
            if lines[-1] == "":
                lines.pop()
            for at in range(skip, len(lines), self._batch_rows):
                yield self._batch(block, lines[at : at + self._batch_rows], at)
            skip = 0

    def _batch(self, block: Block, lines: list[str], at: int) -> Batch:
        records: list[dict[str, Any]] = []
        places: list[int] = []
        refused: list[Reject] = []
        for place, line in enumerate(lines, block.line + at + 1):
            if not line.strip():
                continue
            record, why = self._read(line)
            if why is None:
                records.append(record)
                places.append(place)
            else:
                refused.append(Reject(source=self.file.name, line=place, column=None, reason=why, record=record))
        end = at + len(lines)
        counted = self.file.counts_lines

        def column(place: int) -> Sequence[Any]:
            name = self.names[place]
            return [record.get(name) for record in records]

        return Batch(
            source=self.file.name,
            names=self.names,
            n=len(records),
            column=column,
            line_of=places.__getitem__,
            position={"base": 0, "line": 0, "skip": block.line + end}
            if counted
            else {"base": block.base, "line": block.line, "skip": end},
            refused=refused,
            records=records,
        )

    def _read(self, line: str) -> tuple[Any, str | None]:
        if not is_text(line):
            shown = line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            return shown[:SHOWN], f"is not valid {self.file.encoding}"
        try:
            record = self._decoder.decode(line)
        except (msgspec.DecodeError, RecursionError) as fault:
            return line[:SHOWN], f"is not JSON: {fault}"
        if not isinstance(record, dict):
            return record, "is not a JSON object"
        if self.extra == "reject" and not record.keys() <= set(self.names):
            unknown = ", ".join(str(key) for key in record if key not in self.names)
            return record, f"has keys that are no column: {unknown[:200]}"
        return record, None
