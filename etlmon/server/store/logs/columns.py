"""Log lines as a compressed body of columns, and back. Pure: bytes in, lines out.

A body is zstd over one msgpack array. Rows that repeat (job, name, logger, step, attempt) are written once as
contexts; ``seq`` and ``at`` are first value, then differences. Messages stay packed until somebody needs them:
most searches can tell from the packed bytes that a body holds nothing for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter, sub

import msgspec
import zstandard

from etlmon.core.job import LogLine

Context = tuple[str, str, str | None, str | None, int]
"""What many lines share: job id, name, logger, step, attempt."""

_context = attrgetter("job_id", "name", "logger", "step", "attempt")
_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(list[str])


class Columns(msgspec.Struct):
    """Lines side by side: every list has one element per line, ``fields`` is None when no line has any."""

    seqs: list[int]
    ats: list[int]
    levels: list[int]
    contexts: list[Context]
    messages: list[str]
    fields: list[bytes | None] | None

    @classmethod
    def of(cls, lines: Sequence[LogLine]) -> Columns:
        """The columns of ``lines``, which are in ``seq`` order."""
        fields = [line.fields for line in lines]
        return cls(
            seqs=[line.seq for line in lines],
            ats=[line.at for line in lines],
            levels=[line.level for line in lines],
            contexts=list(map(_context, lines)),
            messages=[line.message for line in lines],
            fields=None if fields.count(None) == len(fields) else [f if f is None else bytes(f) for f in fields],
        )


class _Written(msgspec.Struct, array_like=True):
    contexts: list[Context]
    which: list[int] | None
    seqs: list[int]
    ats: list[int]
    levels: bytes
    fields: list[bytes | None] | None
    plain: bool
    messages: list[str]


class Body(msgspec.Struct, array_like=True):
    """A body as read: the columns still packed as far as they can be.

    ``which`` is each line's context (None: all have the first); ``plain`` says that all messages are ASCII.
    """

    contexts: list[Context]
    which: list[int] | None
    seqs: list[int]
    ats: list[int]
    levels: bytes
    fields: list[bytes | None] | None
    plain: bool
    messages: msgspec.Raw

    def seq_list(self) -> list[int]:
        """The lines' numbers."""
        return list(accumulate(self.seqs))

    def at_list(self) -> list[int]:
        """The lines' instants."""
        return list(accumulate(self.ats))

    def context_list(self) -> list[Context]:
        """The lines' contexts."""
        if self.which is None:
            return self.contexts * len(self.seqs)
        return list(map(self.contexts.__getitem__, self.which))

    def message_list(self) -> list[str]:
        """The lines' messages."""
        return _messages.decode(self.messages)

    def columns(self) -> Columns:
        """Everything unpacked."""
        return Columns(
            self.seq_list(), self.at_list(), list(self.levels), self.context_list(), self.message_list(), self.fields
        )

    def lines(self, places: Iterable[int] | None = None) -> list[LogLine]:
        """The lines at ``places`` (default: all), in that order."""
        c = self.columns()
        fields = c.fields or [None] * len(c.seqs)
        made = []
        for i in range(len(c.seqs)) if places is None else places:
            job_id, name, logger, step, attempt = c.contexts[i]
            raw = fields[i]
            raw = None if raw is None else msgspec.Raw(raw)
            made.append(
                LogLine(c.seqs[i], job_id, name, c.ats[i], c.levels[i], c.messages[i], logger, step, raw, attempt)
            )
        return made


_bodies = msgspec.msgpack.Decoder(Body)


def encode(columns: Columns, compressor: zstandard.ZstdCompressor) -> bytes:
    """The compressed body of ``columns``; text that no UTF-8 can hold (lone surrogates) becomes ``?``."""
    numbers = {context: number for number, context in enumerate(dict.fromkeys(columns.contexts))}
    which = None if len(numbers) == 1 else list(map(numbers.__getitem__, columns.contexts))
    written = _Written(
        contexts=list(numbers),
        which=which,
        seqs=_differences(columns.seqs),
        ats=_differences(columns.ats),
        levels=bytes(columns.levels),
        fields=columns.fields,
        plain=all(map(str.isascii, columns.messages)),
        messages=columns.messages,
    )
    try:
        packed = _encoder.encode(written)
    except UnicodeEncodeError:
        written.messages = list(map(_encodable, columns.messages))
        written.contexts = [
            (_encodable(j), _encodable(n), g and _encodable(g), s and _encodable(s), a) for j, n, g, s, a in numbers
        ]
        packed = _encoder.encode(written)
    return compressor.compress(packed)


def decode(body: bytes, decompressor: zstandard.ZstdDecompressor) -> Body:
    """The body that ``encode`` made; zstandard.ZstdError or msgspec.MsgspecError when it is damaged."""
    return _bodies.decode(decompressor.decompress(body))


def job_key(job_id: str) -> int:
    """A 32-bit key of a job id, for skipping what cannot hold its lines; two jobs may share one."""
    return zlib.crc32(job_id.encode("utf-8", "replace"))


def _differences(values: list[int]) -> list[int]:
    return [values[0], *map(sub, values[1:], values)]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
