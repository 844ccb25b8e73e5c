"""Log lines as a compressed body of columns, and back. Pure: bytes in, lines out.

A body is zstd over one msgpack array. Rows that repeat (job, name, logger, step, attempt) are written once as
contexts; ``seq`` and ``at`` are first value, then differences. Messages stay packed until somebody needs them:
most searches can tell from the packed bytes that a body holds nothing for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, repeat
from operator import attrgetter, sub
from typing import Any

import msgspec
import zstandard

from etlmon.core.job import LogLine

Context = tuple[str, str, str | None, str | None, int]
"""What many lines share: job id, name, logger, step, attempt."""

_context = attrgetter("job_id", "name", "logger", "step", "attempt")
_seq, _at, _level, _message, _fields = map(attrgetter, ("seq", "at", "level", "message", "fields"))
_encoder = msgspec.msgpack.Encoder()


class Columns(msgspec.Struct):
    """Lines side by side: every list has one element per line, ``fields`` is None when no line has any.

    ``which`` says for each line which of ``contexts`` it has.
    """

    contexts: list[Context]
    which: list[int]
    seqs: list[int]
    ats: list[int]
    levels: list[int]
    messages: list[str]
    fields: list[bytes | None] | None

    @classmethod
    def of(cls, lines: Sequence[LogLine]) -> Columns:
        """The columns of ``lines``, which are in ``seq`` order."""
        contexts = list(map(_context, lines))
        numbers = {context: number for number, context in enumerate(dict.fromkeys(contexts))}
        fields = list(map(_fields, lines))
        return cls(
            contexts=list(numbers),
            which=list(map(numbers.__getitem__, contexts)),
            seqs=list(map(_seq, lines)),
            ats=list(map(_at, lines)),
            levels=list(map(_level, lines)),
            messages=list(map(_message, lines)),
            fields=None if fields.count(None) == len(fields) else [f if f is None else bytes(f) for f in fields],
        )

    @classmethod
    def joined(cls, several: Sequence[Columns]) -> Columns:
        """One after the other. What is given is not changed."""
        if len(several) == 1:
            return several[0]
        numbers: dict[Context, int] = {}
        together = cls([], [], [], [], [], [], None)
        for columns in several:
            own = [numbers.setdefault(context, len(numbers)) for context in columns.contexts]
            together.extend(columns, columns.renumbered(own))
        together.contexts = list(numbers)
        return together

    def extend(self, more: Columns, which: list[int]) -> None:
        """Take the lines of ``more`` in at the end, with ``which`` as their contexts' numbers here."""
        if more.fields is not None or self.fields is not None:
            self.fields = (self.fields or [None] * len(self.seqs)) + (more.fields or [None] * len(more.seqs))
        self.which += which
        self.seqs += more.seqs
        self.ats += more.ats
        self.levels += more.levels
        self.messages += more.messages

    def slice(self, start: int, end: int) -> Columns:
        """The lines from ``start`` to before ``end``, with the same contexts."""
        return Columns(
            self.contexts,
            self.which[start:end],
            self.seqs[start:end],
            self.ats[start:end],
            self.levels[start:end],
            self.messages[start:end],
            None if self.fields is None else self.fields[start:end],
        )

    def renumbered(self, numbers: list[int]) -> list[int]:
        """``which`` with the number that ``numbers`` has for each context."""
        if len(numbers) == 1:
            return numbers * len(self.which)
        return list(map(numbers.__getitem__, self.which))

    def drop_unused_contexts(self) -> None:
        """Keep only those contexts that a line has."""
        own = {number: place for place, number in enumerate(dict.fromkeys(self.which))}
        if len(own) < len(self.contexts):
            self.which = list(map(own.__getitem__, self.which))
            self.contexts = [self.contexts[number] for number in own]

    def lines(self) -> list[LogLine]:
        """The lines as objects."""
        if not self.seqs:
            return []
        own: list[Iterable[Any]] = [repeat(part) for part in self.contexts[0]]
        if len(self.contexts) > 1:
            own = list(zip(*map(self.contexts.__getitem__, self.which), strict=True))
        job_ids, names, loggers, steps, attempts = own
        fields = repeat(None) if self.fields is None else [f if f is None else msgspec.Raw(f) for f in self.fields]
        columns = (self.seqs, job_ids, names, self.ats, self.levels, self.messages, loggers, steps, fields, attempts)
        return list(map(LogLine, *columns))

    def text_size(self) -> int:
        """The size of messages and fields, about in bytes."""
        size = sum(map(len, self.messages))
        if self.fields is not None:
            size += sum(len(field) for field in self.fields if field is not None)
        return size


class _Rest(msgspec.Struct, array_like=True):
    """The columns of a body but for its messages; ``which`` is None when all lines have the first context."""

    contexts: list[Context]
    which: list[int] | None
    seqs: list[int]
    ats: list[int]
    levels: bytes
    fields: list[bytes | None] | None


class _Packed(msgspec.Struct, array_like=True):
    plain: bool
    messages: bytes
    rest: bytes


class Body:
    """A body as read: each part is unpacked when first asked for. ``plain`` says that all messages are ASCII,
    ``packed`` are the messages with some bytes of length between them."""

    def __init__(self, parts: _Packed) -> None:
        self.plain = parts.plain
        self.packed = parts.messages
        self._packed_rest = parts.rest

    @cached_property
    def _rest(self) -> _Rest:
        return _rests.decode(self._packed_rest)

    @cached_property
    def messages(self) -> list[str]:
        """The lines' messages."""
        return _messages.decode(self.packed)

    @cached_property
    def seqs(self) -> list[int]:
        """The lines' numbers."""
        return list(accumulate(self._rest.seqs))

    @cached_property
    def ats(self) -> list[int]:
        """The lines' instants."""
        return list(accumulate(self._rest.ats))

    @property
    def levels(self) -> bytes:
        """The lines' levels."""
        return self._rest.levels

    @property
    def contexts(self) -> list[Context]:
        """What lines share."""
        return self._rest.contexts

    @cached_property
    def which(self) -> list[int]:
        """Which of the contexts each line has."""
        return [0] * len(self._rest.seqs) if self._rest.which is None else self._rest.which

    def columns(self) -> Columns:
        """Everything unpacked."""
        return Columns(
            contexts=self.contexts,
            which=self.which,
            seqs=self.seqs,
            ats=self.ats,
            levels=list(self.levels),
            messages=self.messages,
            fields=self._rest.fields,
        )

    def line(self, place: int) -> LogLine:
        """The line at ``place``."""
        job_id, name, logger, step, attempt = self.contexts[self.which[place]]
        fields = None if self._rest.fields is None else self._rest.fields[place]
        return LogLine(
            self.seqs[place],
            job_id,
            name,
            self.ats[place],
            self.levels[place],
            self.messages[place],
            logger,
            step,
            None if fields is None else msgspec.Raw(fields),
            attempt,
        )


_messages = msgspec.msgpack.Decoder(list[str])
_rests = msgspec.msgpack.Decoder(_Rest)
_bodies = msgspec.msgpack.Decoder(_Packed)


def encode(columns: Columns, compressor: zstandard.ZstdCompressor) -> bytes:
    """The compressed body of ``columns``; text that no UTF-8 can hold (lone surrogates) becomes ``?``."""
    rest = _Rest(
        contexts=columns.contexts,
        which=None if len(columns.contexts) == 1 else columns.which,
        seqs=_steps(columns.seqs),
        ats=_differences(columns.ats),
        levels=bytes(columns.levels),
        fields=columns.fields,
    )
    try:
        messages, packed_rest = _encoder.encode(columns.messages), _encoder.encode(rest)
    except UnicodeEncodeError:
        messages = _encoder.encode(list(map(_encodable, columns.messages)))
        rest.contexts = [
            (_encodable(j), _encodable(n), g and _encodable(g), s and _encodable(s), a)
            for j, n, g, s, a in columns.contexts
        ]
        packed_rest = _encoder.encode(rest)
    plain = "".join(columns.messages).isascii()
    return compressor.compress(_encoder.encode(_Packed(plain, messages, packed_rest)))


def decode(body: bytes, decompressor: zstandard.ZstdDecompressor) -> Body:
    """The body that ``encode`` made; zstandard.ZstdError or msgspec.MsgspecError when it is damaged."""
    return Body(_bodies.decode(decompressor.decompress(body)))


@lru_cache(maxsize=16_384)
def job_key(job_id: str) -> int:
    """A 32-bit key of a job id, for skipping what cannot hold its lines; two jobs may share one."""
    return zlib.crc32(job_id.encode("utf-8", "replace"))


def _steps(seqs: list[int]) -> list[int]:
    """As ``_differences`` of numbers that ascend; most often they follow one another."""
    if seqs[-1] - seqs[0] == len(seqs) - 1:
        return [seqs[0], *repeat(1, len(seqs) - 1)]
    return _differences(seqs)


def _differences(values: list[int]) -> list[int]:
    return [values[0], *map(sub, values[1:], values)]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
