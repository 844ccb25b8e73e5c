"""All the files of a source, one after the other, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from etlmon.core.pipeline_shapes import Source
from etlmon.core.text import hint
from etlmon.pipelines.batch import Batch
from etlmon.pipelines.checkpoint import Identity, identity_of
from etlmon.pipelines.csv_source import CsvFile
from etlmon.pipelines.ends import PipelineFailed
from etlmon.pipelines.jsonl_source import JsonLinesFile
from etlmon.pipelines.sqlite_source import SqliteRows

OpenSource = CsvFile | JsonLinesFile | SqliteRows


class Sources:
    """``files`` in order. Standard input is a file as well: it was put in the work directory first."""

    def __init__(self, config: Source, files: Sequence[Path], batch_rows: int, *, extra: str = "ignore") -> None:
        self._config = config
        self._files = list(files)
        self._batch_rows = batch_rows
        self._extra = extra
        self.identities = tuple(identity_of(file) for file in self._files)
        self.bytes_total = sum(each.size for each in self.identities)
        self.names: tuple[str, ...] = ()
        self._open: OpenSource | None = None
        self._before = 0

    @property
    def is_texts(self) -> bool:
        """Whether all values are texts."""
        return self._config.kind == "csv"

    @property
    def bytes_read(self) -> int:
        """How far the files were read, all together, as they lie on disk."""
        return self._before + (self._open.bytes_read if self._open is not None else 0)

    @property
    def records_total(self) -> int | None:
        """How many records there will be, where the source can tell."""
        found = [each for each in (getattr(self._open, "total", None),) if each is not None]
        return found[0] if found and len(self._files) == 1 else None

    def _opened(self, file: Path) -> OpenSource:
        try:
            match self._config.kind:
                case "jsonl":
                    return JsonLinesFile(file, self._config.format, self._batch_rows, extra=self._extra)
                case "sqlite":
                    return SqliteRows(file, self._config, self._batch_rows)
                case _:
                    return CsvFile(file, self._config.format, self._batch_rows)
        except OSError as fault:
            raise PipelineFailed(f"{file} cannot be read: {fault.strerror}.", "Check that it is still there.") from None

    def read_headers(self) -> None:
        """Learn the columns of all files, and that they are the same."""
        for file in self._files:
            source = self._opened(file)
            try:
                source.read_header()
            finally:
                source.close()
            if not self.names:
                self.names = source.names
            elif self._config.kind == "jsonl":
                self.names = tuple(dict.fromkeys((*self.names, *source.names)))
            elif source.names and set(source.names) != set(self.names):
                raise self._unlike(source.names, file)

    def _unlike(self, names: Sequence[str], file: Path) -> PipelineFailed:
        first, name = self._files[0].name, file.name
        missing = [each for each in self.names if each not in names]
        more = [each for each in names if each not in self.names]
        told = f"has no column {missing[0]!r}{hint(missing[0], more)}" if missing else f"has a column {more[0]!r} more"
        return PipelineFailed(
            f"{name} {told}: its header is not that of {first}.",
            "Give files of one job the same columns (their order may differ).",
        )

    def batches(self, at: int, position: dict[str, int]) -> Iterator[tuple[int, Batch]]:
        """The records from a position of file ``at`` on, each batch with its file's place."""
        self._before = sum(each.size for each in self.identities[:at])
        for place in range(at, len(self._files)):
            source = self._opened(self._files[place])
            self._open = source
            try:
                header = source.read_header()
                if isinstance(source, JsonLinesFile):
                    source.names = self.names
                start = position if place == at and position else header
                for batch in source.batches(start) if source.names else ():
                    yield place, self._in_order(batch)
            finally:
                source.close()
                self._open = None
            self._before += self.identities[place].size

    def _in_order(self, batch: Batch) -> Batch:
        """The batch with the first file's order of columns."""
        if tuple(batch.names) == self.names:
            return batch
        places = [list(batch.names).index(name) for name in self.names]
        inner = batch.column
        batch.column = lambda place: inner(places[place])
        batch.names = self.names
        batch.lines = None
        return batch

    @staticmethod
    def check_unchanged(known: Sequence[Identity]) -> None:
        """PipelineFailed when a file is not what it was when the job began."""
        for before in known:
            name = Path(before.path).name
            try:
                now = identity_of(Path(before.path))
            except OSError as fault:
                raise PipelineFailed(
                    f"{name} is gone ({fault.strerror}): it was removed while the job read it.",
                    "Put the file back and submit the job again.",
                ) from None
            if now != before:
                how = "replaced" if now.inode != before.inode else "changed"
                raise PipelineFailed(
                    f"{name} was {how} while the job read it ({before.size} bytes then, {now.size} now).",
                    "Let the file be complete before the job starts, and submit it again.",
                )
