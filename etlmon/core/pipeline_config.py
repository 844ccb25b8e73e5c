"""What the three pipelines are told to do: a dict → frozen values, with every fault and its path. Touches nothing.

The keys and their meaning: docs/pipelines.md.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from etlmon.core.errors import Fault, Invalid
from etlmon.core.pipeline_expression import names_of
from etlmon.core.pipeline_keys import Keys, Scalar, is_scalar, kind_of
from etlmon.core.pipeline_values import TYPES, check_format, reader_of
from etlmon.core.text import hint, sentence

PIPELINES = ("csv_processing", "field_mapping", "api_upload")
STEPS = {
    "csv_processing": (
        "Validating file",
        "Processing headers",
        "Processing data",
        "Validating results",
        "Completing",
    ),
    "field_mapping": (
        "Loading configuration",
        "Applying mappings",
        "Transforming data",
        "Validating output",
        "Completing",
    ),
    "api_upload": ("Preparing data", "Uploading to API", "Processing responses", "Handling errors", "Completing"),
}
"""The phases of each pipeline, as they are reported."""
SECOND, HOUR = 1000, 3_600_000
_SOURCE_ENDS = {
    "csv": (".csv", ".tsv", ".txt", "-"),
    "jsonl": (".jsonl", ".ndjson"),
    "sqlite": (".db", ".sqlite", ".sqlite3"),
}
_SINK_ENDS = _SOURCE_ENDS | {"parquet": (".parquet", ".pq")}
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRIVATE_ENV = "ETLMON_"
RETRIED = (408, 425, 429, 500, 502, 503, 504)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a pipeline's config."""


class Format(Part, frozen=True, kw_only=True):
    """How a text source is written."""

    delimiter: str = ","
    quotechar: str = '"'
    encoding: str = "utf-8"
    header: bool = True
    compression: str = "auto"


class Source(Part, frozen=True, kw_only=True):
    """Where records come from; ``paths`` may be globs, or ``-`` alone."""

    paths: tuple[str, ...] = ()
    kind: str = "csv"
    table: str = ""
    query: str = ""
    format: Format = Format()


class Sink(Part, frozen=True, kw_only=True):
    """Where records go."""

    path: str = ""
    kind: str = "csv"
    table: str = ""
    mode: str = "replace"


class Rejects(Part, frozen=True, kw_only=True):
    """Where refused records go and how many are too many."""

    path: str = ""
    max: int | None = None
    max_rate: float | None = None


class Column(Part, frozen=True, kw_only=True):
    """What must hold of a column's values. ``low`` and ``high`` are in the type's own values (lengths of a string)."""

    name: str
    type: str = "string"
    required: bool = False
    null: tuple[str, ...] = ("",)
    low: Any = None
    high: Any = None
    pattern: str | None = None
    enum: tuple[Any, ...] = ()
    unique: bool = False
    default: Any = None
    rename: str = ""
    trim: bool = True
    format: str | None = None


class Expect(Part, frozen=True, kw_only=True):
    """What must hold of the whole output; sums are decimal texts."""

    min_rows: int | None = None
    max_rows: int | None = None
    sums: dict[str, str] = {}


class CsvProcessing(Part, frozen=True, kw_only=True):
    """Checks and cleans records."""

    source: Source
    sink: Sink
    rejects: Rejects
    columns: dict[str, Column]
    unknown_columns: str = "keep"
    expect: Expect = Expect()
    batch_rows: int = 5000


class MappedField(Part, frozen=True, kw_only=True):
    """One field of the output; ``how`` says which of the others are meant."""

    to: str
    how: str
    sources: tuple[str, ...] = ()
    separator: str = ""
    part: int = 0
    table: dict[str, Any] | None = None
    path: str = ""
    key: str = ""
    value: str = ""
    missing: str = "reject"
    format: str | None = None
    timezone: str | None = None
    output: str | None = None
    const: Scalar = None
    expr: str = ""
    type: str | None = None
    default: Scalar = None


class FieldMapping(Part, frozen=True, kw_only=True):
    """Makes records of another shape."""

    source: Source
    sink: Sink
    rejects: Rejects
    fields: tuple[MappedField, ...]
    keep_unmapped: bool = False
    required: tuple[str, ...] = ()
    drop_if: str = ""
    batch_rows: int = 5000


class Reference(Part, frozen=True, kw_only=True):
    """A header's value: given, or where it is found. Never shown."""

    text: str = ""
    env: str = ""
    file: str = ""

    def __repr__(self) -> str:
        """The place, never the value."""
        return f"Reference(env={self.env!r}, file={self.file!r}, text={'***' if self.text else ''!r})"


class Retry(Part, frozen=True, kw_only=True):
    """How stubbornly a batch is sent. Durations in ms."""

    attempts: int = 5
    base: int = 500
    cap: int = 30 * SECOND
    statuses: tuple[int, ...] = RETRIED


class Answers(Part, frozen=True, kw_only=True):
    """Where an answer tells which records of a batch it did not take."""

    path: str = "errors"
    index: str = "index"
    message: str = "message"


class ApiUpload(Part, frozen=True, kw_only=True):
    """Sends records to an HTTP endpoint. ``wrap`` is the key of an object body; ``timeout`` in ms."""

    source: Source
    rejects: Rejects
    url: str
    method: str = "POST"
    body: str = "array"
    wrap: str = ""
    batch_records: int = 200
    concurrency: int = 4
    rate_per_second: float | None = None
    timeout: int = 30 * SECOND
    headers: dict[str, Reference] = {}
    idempotency_header: str = "Idempotency-Key"
    retry: Retry = Retry()
    errors: Answers = Answers()
    batch_rows: int = 5000


PipelineConfig = CsvProcessing | FieldMapping | ApiUpload


def parse_pipeline(kind: str, config: object) -> PipelineConfig:
    """The typed config of a pipeline; ``errors.Invalid`` with every fault when something is wrong."""
    if kind not in PIPELINES:
        fault = Fault("type", f"must be one of {', '.join(PIPELINES)}{hint(kind, PIPELINES)}")
        raise Invalid(sentence(f"type: {fault.message}"), errors=(fault,))
    faults: list[Fault] = []
    keys = Keys(config, "", faults)
    read: dict[str, Callable[[Keys], PipelineConfig]] = {
        "csv_processing": _csv_processing,
        "field_mapping": _field_mapping,
        "api_upload": _api_upload,
    }
    parsed = read[kind](keys)
    keys.close()
    if faults:
        raise refused(faults)
    return parsed


def refused(faults: list[Fault]) -> Invalid:
    """The error that carries every fault; its sentence names the first ten."""
    told = "; ".join(f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in faults[:10])
    more = f" (and {len(faults) - 10} more)" if len(faults) > 10 else ""
    return Invalid(sentence(f"The config is refused: {told}{more}"), errors=tuple(faults))


def _csv_processing(keys: Keys) -> CsvProcessing:
    columns = {
        str(name): _column(str(name), Keys(each, f"columns.{str(name)[:60]}", keys.faults))
        for name, each in keys.named("columns").items()
    }
    names = [column.rename or name for name, column in columns.items()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        keys.fault("columns", f"two columns would be called {name!r} in the output")
    return CsvProcessing(
        source=_source(keys),
        sink=_sink(keys),
        rejects=_rejects(keys),
        columns=columns,
        unknown_columns=keys.word("unknown_columns", ("keep", "drop", "reject"), "keep"),
        expect=_expect(keys.inner("expect")),
        batch_rows=_batch_rows(keys),
    )


def _batch_rows(keys: Keys) -> int:
    return keys.count("batch_rows", 5000, 1, 100_000) or 5000


def _source(keys: Keys) -> Source:
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


_ENCODINGS = ("utf-8", "utf-16", "utf-32", "latin-1", "cp1252", "iso-8859-15", "ascii", "shift_jis", "gb18030", "big5")


def _sink(keys: Keys) -> Sink:
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


def _rejects(keys: Keys) -> Rejects:
    inner = keys.inner("rejects")
    read = Rejects(path=inner.text("path"), max=inner.count("max", None), max_rate=inner.number("max_rate", 0, 1))
    inner.close()
    return read


def _column(name: str, keys: Keys) -> Column:
    kind = keys.word("type", TYPES, "string")
    form = keys.text("format", check=check_format) or None
    if form is not None and kind not in ("date", "datetime"):
        keys.fault("format", f"is only for dates and datetimes, not {kind}")
    low, high = _bound(keys, "min", kind), _bound(keys, "max", kind)
    if low is not None and high is not None and low > high:
        keys.fault("min", "must not be greater than max")
    column = Column(
        name=name,
        type=kind,
        required=keys.flag("required", False),
        null=keys.texts("null", ("",)),
        low=low,
        high=high,
        pattern=keys.text("pattern", check=_check_pattern) if keys.has("pattern") else None,
        enum=tuple(_typed(keys, "enum", each, kind, form) for each in keys.scalars("enum")),
        unique=keys.flag("unique", False),
        default=_typed(keys, "default", keys.scalar("default"), kind, form),
        rename=keys.text("rename"),
        trim=keys.flag("trim", True),
        format=form,
    )
    if column.required and column.default is not None:
        keys.fault("default", "cannot stand beside required: a value that has a default is never missing")
    keys.close()
    return column


def _check_pattern(text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as fault:
        raise ValueError(f"is not a regular expression: {fault}") from None


def _bound(keys: Keys, name: str, kind: str) -> Any:
    """A least or greatest value: a number, a length for strings, an ISO text for dates."""
    value = keys.scalar(name)
    if value is None:
        return None
    if kind in ("date", "datetime"):
        return _typed(keys, name, value, kind, None)
    if kind == "boolean" or isinstance(value, bool | str):
        keys.fault(name, "is not for booleans" if kind == "boolean" else "must be a number")
        return None
    if kind == "string" and (not isinstance(value, int) or value < 0):
        keys.fault(name, "must be a length in characters")
        return None
    return value


def _typed(keys: Keys, name: str, value: Scalar, kind: str, form: str | None) -> Any:
    """A scalar of the config as a value of the column's type."""
    if value is None or (kind == "boolean" and isinstance(value, bool)):
        return value
    if kind in ("integer", "number") and isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "integer" and isinstance(value, float):
            keys.fault(name, f"must be a whole number, as the column's type is: {value}")
        return value
    if kind == "string":
        return value if isinstance(value, str) else str(value)
    try:
        if not isinstance(value, str):
            raise ValueError(f"is {kind_of(value)}, and the column's type is {kind}")
        try:
            return reader_of(kind)(value)
        except ValueError:
            if form is None:
                raise
            return reader_of(kind, form)(value)
    except ValueError as fault:
        keys.fault(name, str(fault))
        return None


def _expect(keys: Keys) -> Expect:
    sums = {}
    for name, value in keys.named("sum").items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_scalar(value):
            keys.fault(f"sum.{name}", f"must be a number, not {kind_of(value)}")
        else:
            sums[str(name)] = repr(value)
    read = Expect(min_rows=keys.count("min_rows", None), max_rows=keys.count("max_rows", None), sums=sums)
    if read.min_rows is not None and read.max_rows is not None and read.min_rows > read.max_rows:
        keys.fault("min_rows", "must not be greater than max_rows")
    keys.close()
    return read


def _field_mapping(keys: Keys) -> FieldMapping:
    given = keys.take("fields", needed=True)
    if given is not None and (not isinstance(given, list) or not given):
        keys.fault("fields", "must be a list of tables, and not empty")
    listed = given if isinstance(given, list) else []
    fields = tuple(_field(Keys(each, f"fields[{at}]", keys.faults)) for at, each in enumerate(listed))
    seen: set[str] = set()
    for at, field in enumerate(fields):
        if field.to and field.to in seen:
            keys.fault(f"fields[{at}].to", f"{field.to!r} is made twice")
        seen.add(field.to)
    keep, required = keys.flag("keep_unmapped", False), keys.texts("required")
    for name in required:
        if not keep and name not in seen:
            keys.fault("required", f"{name!r} is not made by any field{hint(name, seen)}")
    return FieldMapping(
        source=_source(keys),
        sink=_sink(keys),
        rejects=_rejects(keys),
        fields=fields,
        keep_unmapped=keep,
        required=required,
        drop_if=keys.text("drop_if", check=_check_expression),
        batch_rows=_batch_rows(keys),
    )


HOWS = ("from", "concat", "split", "lookup", "date", "const", "expr")


def _check_expression(text: str) -> None:
    names_of(text)


def _field(keys: Keys) -> MappedField:
    to = keys.text("to", needed=True)
    given = [how for how in HOWS if keys.has(how)]
    if len(given) != 1:
        keys.fault("to", f"needs exactly one of {', '.join(HOWS)}; {' and '.join(given) if given else 'none'} is given")
        if not given:
            keys.close()
        return MappedField(to=to, how="const")
    how = given[0]
    known: dict[str, Any] = {"to": to, "how": how}
    match how:
        case "from":
            kind = keys.word("type", TYPES)
            known |= {"sources": (keys.text("from"),), "type": kind or None, "default": keys.scalar("default")}
            known["format"] = keys.text("format", check=check_format) or None
        case "concat":
            known |= {"sources": keys.texts("concat", needed=True), "separator": keys.text("separator")}
        case "split":
            known |= {
                "sources": (keys.text("split"),),
                "separator": keys.text("separator", " "),
                "part": keys.count("part", 0),
            }
            known["default"] = keys.scalar("default")
            if not known["separator"]:
                keys.fault("separator", "must not be empty")
        case "lookup":
            known |= _lookup(keys)
        case "date":
            known |= _date(keys)
        case "const":
            known["const"] = keys.scalar("const")
        case "expr":
            known["expr"] = keys.text("expr", check=_check_expression)
    keys.close()
    return MappedField(**known)


def _lookup(keys: Keys) -> dict[str, Any]:
    known: dict[str, Any] = {"sources": (keys.text("lookup"),)}
    known["missing"] = keys.word("missing", ("reject", "default"), "reject")
    known["default"] = keys.scalar("default")
    if known["missing"] == "default" and not keys.has("default"):
        keys.fault("default", 'is needed when missing = "default"')
    table = keys.take("table", needed=True)
    if isinstance(table, dict) and "path" in table:
        inner = Keys(table, keys.at("table"), keys.faults)
        known |= {name: inner.text(name, needed=True) for name in ("path", "key", "value")}
        inner.close()
    elif isinstance(table, dict) and all(is_scalar(each) for each in table.values()):
        known["table"] = {str(name): each for name, each in table.items()}
    elif table is not None:
        keys.fault("table", 'must be {"text": value, …} or {"path", "key", "value"}')
    return known


def _date(keys: Keys) -> dict[str, Any]:
    def zone(text: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+){0,2}", text):
            raise ValueError("must be a zone such as Europe/Rome")

    known: dict[str, Any] = {"sources": (keys.text("date"),), "default": keys.scalar("default")}
    known["format"] = keys.text("format", check=check_format) or None
    known["timezone"] = keys.text("timezone", check=zone) or None
    known["output"] = keys.text("output") or None
    return known


def _api_upload(keys: Keys) -> ApiUpload:
    body, wrap = _body(keys)
    concurrency = keys.count("concurrency", 4, 1, 64) or 4
    return ApiUpload(
        source=_source(keys),
        rejects=_rejects(keys),
        url=keys.text("url", needed=True, check=_check_url),
        method=keys.word("method", ("POST", "PUT", "PATCH"), "POST"),
        body=body,
        wrap=wrap,
        batch_records=keys.count("batch_records", 200, 1, 10_000) or 200,
        concurrency=concurrency,
        rate_per_second=keys.number("rate_per_second", 0.001, 1_000_000),
        timeout=keys.duration("timeout", 30 * SECOND, 1, HOUR),
        headers=_headers(keys),
        idempotency_header=keys.text("idempotency_header", "Idempotency-Key", check=_check_header_name),
        retry=_retry(keys.inner("retry")),
        errors=_answers(keys.inner("errors")),
        batch_rows=_batch_rows(keys),
    )


def _body(keys: Keys) -> tuple[str, str]:
    value = keys.take("body")
    if isinstance(value, dict) and value.keys() == {"key"} and isinstance(value["key"], str) and value["key"]:
        return "object", value["key"]
    if value in (None, "array", "jsonl"):
        return value or "array", ""
    keys.fault("body", 'must be "array", "jsonl" or {"key": "records"}')
    return "array", ""


def _check_url(text: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a URL, as https://api.example.org/records")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user or password: use headers")


def _check_header_name(text: str) -> None:
    if not _HEADER_NAME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not the name of a header")
    if text.lower() in ("host", "content-length", "transfer-encoding", "connection"):
        raise ValueError(f"{text} is etlmon's to set")


def _headers(keys: Keys) -> dict[str, Reference]:
    found = {}
    for name, value in keys.named("headers").items():
        place = f"headers.{str(name)[:60]}"
        try:
            _check_header_name(str(name))
            found[str(name)] = _reference(value)
        except ValueError as fault:
            keys.fault(place, str(fault))
    return found


def _reference(value: object) -> Reference:
    if isinstance(value, str):
        if not value.isprintable() or not value.isascii():
            raise ValueError("must be printable ASCII")
        return Reference(text=value)
    if isinstance(value, dict) and len(value) == 1:
        where, name = next(iter(value.items()))
        if where in ("env", "file") and isinstance(name, str) and name and "\x00" not in name:
            if where == "env" and name.startswith(_PRIVATE_ENV):
                raise ValueError(f"{name} is etlmon's own and is not sent anywhere")
            return Reference(**{where: name})
    raise ValueError('must be a text, {"env": "NAME"} or {"file": "path"}')


def _retry(keys: Keys) -> Retry:
    statuses = keys.take("statuses")
    if statuses is not None and not (
        isinstance(statuses, list) and all(type(each) is int and 300 <= each <= 599 for each in statuses)
    ):
        keys.fault("statuses", "must be a list of HTTP statuses from 300 to 599")
        statuses = None
    read = Retry(
        attempts=keys.count("attempts", 5, 1, 100) or 5,
        base=keys.duration("base", 500, 1, HOUR),
        cap=keys.duration("cap", 30 * SECOND, 1, HOUR),
        statuses=RETRIED if statuses is None else tuple(statuses),
    )
    keys.close()
    return read


def _answers(keys: Keys) -> Answers:
    read = Answers(
        path=keys.text("path", "errors"), index=keys.text("index", "index"), message=keys.text("message", "message")
    )
    keys.close()
    return read
