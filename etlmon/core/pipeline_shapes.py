"""What a pipeline is told to do, as frozen values: sources, sinks, rules, fields, uploads."""

from __future__ import annotations

from typing import Any

import msgspec

from etlmon.core.pipeline_keys import Scalar

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
