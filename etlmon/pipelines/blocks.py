"""A file as blocks of whole text lines, in any encoding and compression, each with the place where it begins.

Where the encoding allows it, a block's place is a byte offset and reading resumes there; else lines are counted.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from etlmon.core.pipeline_shapes import Format
from etlmon.pipelines.ends import PipelineFailed

BLOCK = 512 * 1024
MAX_LINE = 8 * 1024 * 1024
"""A line that is longer is no line of a table; reading it would take memory without bound."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_STATEFUL = ("utf_7", "iso2022", "hz", "unicode_escape", "raw_unicode_escape", "punycode", "idna")
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Whole lines. ``base`` is where the block begins in the unpacked bytes, ``line`` the lines before it.

    ``escaped``: some bytes were no text; they stand as lone surrogates.
    """

    text: str
    base: int
    line: int
    escaped: bool = False


class TextFile:
    """One source file (or standard input), opened for one pass."""

    def __init__(self, path: Path, form: Format) -> None:
        self.name = path.name
        self._raw = open(path, "rb")  # noqa: SIM115 - closed by close
        try:
            self._packed = self._compression(form.compression)
            self._stream: Any = _unpacked(self._raw, self._packed)
            head = self._peek(4)
        except BaseException:
            self.close()
            raise
        self.encoding, self._skip = _encoding_of(form.encoding, head)
        self.counts_lines = not _is_line_safe(self.encoding)
        """Whether its places are counted in lines: the encoding has no byte that always ends one."""

    def _compression(self, given: str) -> str:
        if given != "auto":
            return given
        start = self._raw.peek(6)[:6]
        return next((kind for magic, kind in _MAGIC if start.startswith(magic)), "none")

    def _peek(self, size: int) -> bytes:
        try:
            return bytes(self._stream.peek(size)[:size])
        except _DAMAGED as fault:
            raise self._damaged(fault) from None

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()

    @property
    def bytes_read(self) -> int:
        """How far it was read, in bytes as they lie on disk."""
        return self._raw.tell()

    def blocks(self, base: int = 0, lines: int = 0) -> Iterator[Block]:
        """The blocks from ``base`` on, where ``lines`` lines were before."""
        try:
            if self.counts_lines:
                yield from self._decoded()
            else:
                yield from self._cut(base, lines)
        except _DAMAGED as fault:
            raise self._damaged(fault) from None

    def _damaged(self, fault: BaseException) -> PipelineFailed:
        return PipelineFailed(
            f"{self.name} is cut off or damaged: it cannot be unpacked as {self._packed} ({fault}).",
            "Fetch the file again and compare its size with the original.",
        )

    def _seek(self, base: int) -> None:
        """To a place in the unpacked bytes; what is packed has to be unpacked up to there again."""
        if self._packed == "none":
            self._raw.seek(base)
            return
        self._raw.seek(0)
        self._stream = _unpacked(self._raw, self._packed)
        left = base
        while left > 0:
            got = len(self._stream.read(min(left, BLOCK)))
            if got == 0:
                return
            left -= got

    def _cut(self, base: int, lines: int) -> Iterator[Block]:
        at = max(base, self._skip)
        self._seek(at)
        rest = b""
        while True:
            read = self._stream.read(BLOCK)
            raw = rest + read if rest else read
            end = _end_of_lines(raw) if read else len(raw)
            if end == 0:
                if not read:
                    return
                rest = self._not_endless(raw, lines)
                continue
            rest = raw[end:]
            text, escaped = self._text(raw[:end] if rest else raw)
            yield Block(text=text, base=at, line=lines, escaped=escaped)
            at += end
            lines += count_lines(text)

    def _not_endless(self, raw: bytes, lines: int) -> bytes:
        if len(raw) > MAX_LINE:
            raise PipelineFailed(
                f"{self.name}, line {lines + 1} is longer than {MAX_LINE >> 20} MB: it is not a text of lines.",
                "Check that the file is what source.kind says, and source.format.encoding.",
            )
        return raw

    def _text(self, raw: bytes) -> tuple[str, bool]:
        try:
            return raw.decode(self.encoding), False
        except UnicodeDecodeError:
            return raw.decode(self.encoding, "surrogateescape"), True

    def _decoded(self) -> Iterator[Block]:
        """For encodings whose line ends are not one byte: no offsets, so resuming reads again and skips lines."""
        self._seek(self._skip)
        decoder = codecs.getincrementaldecoder(self.encoding)()
        rest, lines = "", 0
        while True:
            read = self._stream.read(BLOCK)
            try:
                text = rest + decoder.decode(read, final=not read)
            except UnicodeError as fault:
                raise PipelineFailed(
                    f"{self.name} cannot be read as {self.encoding} after line {lines}: {fault}.",
                    "Set source.format.encoding to the file's encoding.",
                ) from None
            end = _end_of_text(text) if read else len(text)
            rest = text[end:]
            if end:
                yield Block(text=text[:end], base=0, line=lines)
                lines += count_lines(text[:end])
            elif read:
                self._not_endless(rest.encode("utf-8", "surrogatepass"), lines)
            if not read:
                return


def _encoding_of(given: str, head: bytes) -> tuple[str, int]:
    """The encoding and the length of the byte-order mark, which among the Unicode encodings has the last word."""
    name = codecs.lookup(given).name
    if name.startswith("utf") and name != "utf-7":
        for mark, marked in _BOMS:
            if head.startswith(mark):
                return marked, len(mark)
    plain = {"utf-8-sig": "utf-8", "utf-16": f"utf-16-{sys.byteorder[0]}e", "utf-32": f"utf-32-{sys.byteorder[0]}e"}
    return plain.get(name, name), 0


def _is_line_safe(encoding: str) -> bool:
    name = codecs.lookup(encoding).name.replace("-", "_")
    return not name.startswith(_STATEFUL) and "\r\n,".encode(encoding) == b"\r\n,"


def _unpacked(raw: IO[bytes], packed: str) -> Any:
    match packed:
        case "gzip":
            return gzip.GzipFile(fileobj=raw)
        case "bz2":
            return bz2.BZ2File(raw)
        case "xz":
            return lzma.LZMAFile(raw)
        case "zstd":
            import zstandard

            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw, read_across_frames=True)
            return io.BufferedReader(reader, BLOCK)
        case _:
            return raw


def _end_of_lines(raw: bytes) -> int:
    """Where the last whole line ends; a file of bare carriage returns has lines as well."""
    end = raw.rfind(b"\n") + 1
    if end or b"\r" not in raw:
        return end
    return raw.rfind(b"\r", 0, len(raw) - 1) + 1  # the very last may be half of a pair


def _end_of_text(text: str) -> int:
    end = text.rfind("\n") + 1
    return end or text.rfind("\r", 0, max(0, len(text) - 1)) + 1


def count_lines(text: str) -> int:
    """How many lines a text has, by any line end; one that does not end counts as well."""
    n = text.count("\n")
    if "\r" in text:
        n += text.count("\r") - text.count("\r\n")
    return n + (1 if text and text[-1] not in "\r\n" else 0)
