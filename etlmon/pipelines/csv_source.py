"""CSV files as batches of columns. Plain stretches (no quotes, no odd line ends) are split whole; the rest is csv's.

Which way a stretch is read never shows in what is read: only in how fast.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

from etlmon.core.pipeline_shapes import Format
from etlmon.pipelines.batch import Batch, Reject
from etlmon.pipelines.blocks import Block, TextFile, count_lines
from etlmon.pipelines.csv_stretch import MAX_FIELD, Stretch, said
from etlmon.pipelines.ends import PipelineFailed

SHOWN = 10_000
"""Characters kept of a record that could not be read."""


class CsvFile:
    """One CSV file. ``names`` are its columns, known once ``read_header`` was called."""

    def __init__(self, path: Path, form: Format, batch_rows: int) -> None:
        csv.field_size_limit(MAX_FIELD)
        self.file = TextFile(path, form)
        self.names: tuple[str, ...] = ()
        self._form = form
        self._batch_rows = batch_rows
        self._stretch: Stretch | None = None

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    @property
    def bytes_read(self) -> int:
        """How far the file was read."""
        return self.file.bytes_read

    # -- the header ---------------------------------------------------------------------------------------------

    def read_header(self) -> dict[str, int]:
        """Learn the columns; the position of the first record. An empty file has no columns."""
        blocks = self.file.blocks()
        first = next(blocks, None)
        if first is None:
            return {}
        stretch = Stretch(first, 0, blocks, self._form)
        try:
            row: list[str] = next((row for row in stretch.reader if row), [])
        except csv.Error as fault:
            raise PipelineFailed(
                f"{self.file.name}: the header (line {stretch.reader.line_num}) cannot be read: {said(fault)}.",
                "Check source.format.delimiter, quotechar and encoding against the file.",
            ) from None
        self._refuse_unreadable(row, stretch)
        if not self._form.header:
            self.names = tuple(f"column_{n}" for n in range(1, len(row) + 1))
            return {}
        self.names = self._checked(row)
        return self._position(*stretch.place(stretch.reader.line_num))

    def _refuse_unreadable(self, row: list[str], stretch: Stretch) -> None:
        text = "".join(row)
        if "\x00" in text or (stretch.escaped and not is_text(text)):
            raise PipelineFailed(
                f"{self.file.name}: its first line is not text in {self.file.encoding}.",
                "Set source.format.encoding to the file's encoding, as utf-16 or cp1252.",
            )

    def _checked(self, row: list[str]) -> tuple[str, ...]:
        names = [name.strip() or f"column_{at}" for at, name in enumerate(row, 1)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            places = " and ".join(str(at) for at, name in enumerate(names, 1) if name == twice)
            raise PipelineFailed(
                f"{self.file.name}: the header names {twice!r} more than once (columns {places}).",
                "Give each column a name of its own, or set source.format.header to false.",
            )
        return tuple(names)

    # -- records ------------------------------------------------------------------------------------------------

    def batches(self, position: dict[str, int]) -> Iterator[Batch]:
        """The records from a position on."""
        blocks = self.file.blocks(position.get("base", 0), position.get("line", 0))
        skip = position.get("skip", 0)
        for block in blocks:
            if skip and (n := count_lines(block.text)) <= skip:
                skip -= n
                continue
            lines = self._plain_lines(block) if not skip else None
            if lines is not None:
                yield from self._plain(*lines, block)
            else:
                yield from self._general(Stretch(block, skip, blocks, self._form))
            skip = 0

    def _position(self, block: Block, skip: int) -> dict[str, int]:
        if self.file.counts_lines:
            return {"base": 0, "line": 0, "skip": block.line + skip}
        return {"base": block.base, "line": block.line, "skip": skip}

    def _plain_lines(self, block: Block) -> tuple[list[str], dict[int, list[str]]] | None:
        """The block's lines, if each is one record, and the records of those few that hold quotes; else None."""
        text, quote = block.text, self._form.quotechar
        if block.escaped or "\x00" in text:
            return None
        if "\r" in text:
            if text.count("\r") != text.count("\r\n"):
                return None
            text = text.replace("\r\n", "\n")
        if "\n\n" in text or text[:1] == "\n":
            return None
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        if not quote or quote not in text:
            return lines, {}
        places = [at for at, line in enumerate(lines) if quote in line]
        if len(places) * 3 > len(lines):
            return None
        rows = self._rows_of([lines[at] for at in places])
        return (lines, dict(zip(places, rows, strict=True))) if rows is not None else None

    def _rows_of(self, lines: list[str]) -> list[list[str]] | None:
        """The records of lines with quotes; None unless each line is exactly one record."""
        form = self._form
        try:
            rows = list(csv.reader(lines, delimiter=form.delimiter, quotechar=form.quotechar, strict=True))
        except csv.Error:
            return None
        width = len(self.names)
        return rows if len(rows) == len(lines) and all(len(row) == width for row in rows) else None

    def _plain(self, lines: list[str], quoted: dict[int, list[str]], block: Block) -> Iterator[Batch]:
        blank = self._form.delimiter * (len(self.names) - 1)
        for at in range(0, len(lines), self._batch_rows):
            part = lines[at : at + self._batch_rows]
            rows = {place - at: row for place, row in quoted.items() if at <= place < at + len(part)}
            for place in rows:
                part[place] = blank
            yield self._plain_batch(part, rows, block.line + at + 1, self._position(block, at + len(part)))

    def _plain_batch(
        self, lines: list[str], quoted: dict[int, list[str]], first: int, position: dict[str, int]
    ) -> Batch:
        """``quoted`` are the records of lines that are blank in ``lines``."""
        delimiter, width = self._form.delimiter, len(self.names)
        if set(map(str.count, lines, repeat(delimiter))) != {width - 1}:
            rows = [quoted[at] if at in quoted else line.split(delimiter) for at, line in enumerate(lines)]
            return self._checked_batch(rows, range(first, first + len(rows)), [], position)
        cells: list[str] = []
        flat = delimiter.join(lines)

        def column(place: int) -> Sequence[str]:
            if not cells:
                cells.extend(flat.split(delimiter))
                for at, row in quoted.items():
                    cells[at * width : (at + 1) * width] = row
            return cells[place::width]

        as_written = delimiter == "," and self._form.quotechar == '"' and width > 1
        if as_written:
            for at, row in quoted.items():
                lines[at] = csv_line(row)
        return Batch(
            source=self.file.name,
            names=self.names,
            n=len(lines),
            column=column,
            line_of=lambda at: first + at,
            position=position,
            lines=lines if as_written else None,
        )

    def _general(self, stretch: Stretch) -> Iterator[Batch]:
        for found in stretch.batches(self._batch_rows):
            starts, unread = found.starts()
            refused = [
                self._unread(stretch, begun, why) for begun, (_, _, why) in zip(unread, found.errors, strict=True)
            ]
            rows, lines = found.rows, [stretch.first + start + 1 for start in starts]
            if [] in rows:  # blank lines are no records
                lines = [line for line, row in zip(lines, rows, strict=True) if row]
                rows = [row for row in rows if row]
            if stretch.escaped or stretch.has_nul:
                rows, lines = self._only_text(rows, lines, refused)
            position = self._position(*stretch.place(found.ended))
            yield self._checked_batch(rows, lines, refused, position)

    def _unread(self, stretch: Stretch, begun: int, why: str) -> Reject:
        """A record that csv could not read, from this line of the stretch on; its first line is shown."""
        block, at = stretch.place(begun)
        lines = io.StringIO(block.text, newline="")
        text = next(islice(lines, at, at + 1), "").rstrip("\r\n")
        record = self._shown(text[:SHOWN])
        return Reject(source=self.file.name, line=stretch.first + begun + 1, column=None, reason=why, record=record)

    def _only_text(
        self, rows: list[list[str]], lines: list[int], refused: list[Reject]
    ) -> tuple[list[list[str]], list[int]]:
        good = []
        for place, row in enumerate(rows):
            text = "".join(row)
            if "\x00" in text:
                why = "holds a NUL character"
            elif not is_text(text):
                why = f"is not valid {self.file.encoding}"
            else:
                good.append(place)
                continue
            at = next((n for n, cell in enumerate(row) if "\x00" in cell or not is_text(cell)), 0)
            column = self.names[at] if at < len(self.names) else None
            refused.append(self._refusal(row, lines[place], why, column))
        return [rows[place] for place in good], [lines[place] for place in good]

    def _refusal(self, row: list[str], line: int, why: str, column: str | None = None) -> Reject:
        shown = [self._shown(cell) for cell in row]
        record = dict(zip(self.names, shown, strict=True)) if len(row) == len(self.names) else shown
        return Reject(source=self.file.name, line=line, column=column, reason=why, record=record)

    def _shown(self, cell: str) -> str:
        """A cell whose undecodable bytes stand as ``\\xNN``."""
        if is_text(cell):
            return cell
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _checked_batch(
        self, rows: list[list[str]], lines: Sequence[int], refused: list[Reject], position: dict[str, int]
    ) -> Batch:
        """The batch of the rows that have as many fields as the header."""
        width = len(self.names)
        if set(map(len, rows)) - {width}:
            for row, line in zip(rows, lines, strict=True):
                if len(row) != width:
                    refused.append(self._refusal(row, line, f"has {len(row)} fields, the header has {width}"))
            lines = [line for row, line in zip(rows, lines, strict=True) if len(row) == width]
            rows = [row for row in rows if len(row) == width]
        columns = list(zip(*rows, strict=True)) if rows else [()] * width
        return Batch(
            source=self.file.name,
            names=self.names,
            n=len(rows),
            column=columns.__getitem__,
            line_of=lines.__getitem__,
            position=position,
            refused=refused,
        )


def csv_line(row: Sequence[str]) -> str:
    """A record as the CSV sink writes it, without its line end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(row)
    return out.getvalue()


def is_text(text: str) -> bool:
    """Whether it holds no lone surrogates, which stand for bytes that are no text."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
