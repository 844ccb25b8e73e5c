"""What every sink can do, and which sink a config means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from etlmon.core.pipeline_shapes import Sink
from etlmon.pipelines.batch import Table


class OpenSink(Protocol):
    """A target being written. ``state`` is what ``sync`` answered when the checkpoint was taken; empty at first."""

    typed: bool
    """Whether it wants values of the columns' types; else texts."""

    def open(self, names: Sequence[str], kinds: Sequence[str | None], state: dict[str, int]) -> None:
        """Begin, or go on; ``kinds`` are the columns' types where they are known."""

    def write(self, table: Table) -> None:
        """Add records."""

    def sync(self) -> dict[str, int]:
        """Bring all to the disk; where that is."""

    def seal(self) -> None:
        """Nothing more comes: prepare the move."""

    def place(self) -> None:
        """Move into place, in one step; harmless when that was done."""

    def discard(self) -> None:
        """Remove what was staged."""


def open_sink(config: Sink, target: Path, key: str) -> OpenSink:
    """The sink of a config; imported when it is wanted."""
    match config.kind:
        case "jsonl":
            from etlmon.pipelines.text_sinks import JsonLinesSink

            return JsonLinesSink(target, key, append=config.mode == "append")
        case "sqlite":
            from etlmon.pipelines.sqlite_sink import SqliteSink

            return SqliteSink(target, config.table, key, append=config.mode == "append")
        case "parquet":
            from etlmon.pipelines.parquet_sink import ParquetSink

            return ParquetSink(target, key)
        case _:
            from etlmon.pipelines.text_sinks import CsvSink

            return CsvSink(target, key, append=config.mode == "append")
