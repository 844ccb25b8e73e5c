"""Where a pipeline's records come from and go to: source, sink and rejects, read from their tables."""

from __future__ import annotations

import codecs
from collections.abc import Mapping

from etlmon.core.pipeline_keys import Keys, kind_of
from etlmon.core.pipeline_shapes import Format, Rejects, Sink, Source
from etlmon.core.text import hint

_SOURCE_ENDS = {
    "csv": (".csv", ".tsv", ".txt", "-"),
    "jsonl": (".jsonl", ".ndjson"),
    "sqlite": (".db", ".sqlite", ".sqlite3"),
}
_SINK_ENDS = _SOURCE_ENDS | {"parquet": (".parquet", ".pq")}
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_ENCODINGS = ("utf-8", "utf-16", "utf-32", "latin-1", "cp1252", "iso-8859-15", "ascii", "shift_jis", "gb18030", "big5")


def read_batch_rows(keys: Keys) -> int:
    """How many records are handled at once."""
    return keys.count("batch_rows", 5000, 1, 100_000) or 5000


def read_source(keys: Keys) -> Source:
    """The source; what is wrong is put down."""
    inner = keys.inner("source")
    if not keys.has("source"):
        keys.fault("source", "is needed and missing")
        return Source()
    paths = _paths(inner)
    kind = _kind(inner, paths[0] if paths else "", _SOURCE_ENDS)
    source = Source(
        paths=paths,
        kind=kind,
        table=inner.text("table"),
        query=inner.text("query"),
        format=_format(inner.inner("format")),
    )
    if kind == "sqlite" and bool(source.table) == bool(source.query):
        inner.fault("table", "give either table or query: one of them is needed for kind sqlite")
    if kind != "sqlite":
        for name in ("table", "query"):
            if getattr(source, name):
                inner.fault(name, f"is only for kind sqlite, not {kind}")
    inner.close()
    return source


def _paths(keys: Keys) -> tuple[str, ...]:
    value = keys.take("path", needed=True)
    given = value if isinstance(value, list) else [value]
    if value is None:
        return ()
    if not given or not all(isinstance(each, str) and each and "\x00" not in each for each in given):
        keys.fault("path", f"must be a path, a glob, a list of them, or '-', not {kind_of(value)}")
        return ()
    if "-" in given and len(given) > 1:
        keys.fault("path", "'-' (standard input) must stand alone")
    return tuple(given)


def _kind(keys: Keys, path: str, ends: Mapping[str, tuple[str, ...]]) -> str:
    name = path.lower().rstrip("*")
    for packed in _PACKED:
        name = name.removesuffix(packed)
    guessed = next((kind for kind, known in ends.items() if name.endswith(known)), "")
    kind = keys.word("kind", ends, guessed)
    if not kind and path and not keys.has("kind"):
        keys.fault("kind", f"is needed: the path does not tell which of {', '.join(ends)} it is")
    return kind or "csv"


def _format(keys: Keys) -> Format:
    def one_character(text: str) -> None:
        if len(text) != 1 or text in "\r\n":
            raise ValueError("must be one character, and no line end")

    def encoding(text: str) -> None:
        try:
            known = codecs.lookup(text)
        except LookupError:
            raise ValueError(f"{text[:40]!r} is not an encoding{hint(text, _ENCODINGS)}") from None
        if not known._is_text_encoding:
            raise ValueError(f"{text[:40]!r} is not an encoding of text")

    read = Format(
        delimiter=keys.text("delimiter", ",", check=one_character),
        quotechar=keys.text("quotechar", '"', check=lambda text: one_character(text) if text else None),
        encoding=keys.text("encoding", "utf-8", check=encoding),
        header=keys.flag("header", True),
        compression=keys.word("compression", ("auto", "none", "gzip", "bz2", "xz", "zstd"), "auto"),
    )
    if read.delimiter == read.quotechar:
        keys.fault("quotechar", "must not be the delimiter")
    keys.close()
    return read


def read_sink(keys: Keys) -> Sink:
    """The sink; what is wrong is put down."""
    inner = keys.inner("sink")
    if not keys.has("sink"):
        keys.fault("sink", "is needed and missing")
        return Sink()
    path = inner.text("path", needed=True)
    if any(sign in path for sign in "*?[") or path == "-":
        inner.fault("path", "must name one file")
    kind = _kind(inner, path, _SINK_ENDS)
    sink = Sink(
        path=path, kind=kind, table=inner.text("table"), mode=inner.word("mode", ("replace", "append"), "replace")
    )
    if path.lower().endswith(_PACKED):
        inner.fault("path", "must not be compressed: a sink is written as it is")
    if kind == "sqlite" and not sink.table:
        inner.fault("table", "is needed for kind sqlite")
    if kind != "sqlite" and sink.table:
        inner.fault("table", f"is only for kind sqlite, not {kind}")
    if kind == "parquet" and sink.mode == "append":
        inner.fault("mode", "must be replace for parquet: such a file cannot grow")
    inner.close()
    return sink


def read_rejects(keys: Keys) -> Rejects:
    """Where rejects go, and how many are too many."""
    inner = keys.inner("rejects")
    read = Rejects(path=inner.text("path"), max=inner.count("max", None), max_rate=inner.number("max_rate", 0, 1))
    inner.close()
    return read
