"""The config of csv_processing, read from its table."""

from __future__ import annotations

import re
from typing import Any

from etlmon.core.pipeline_ends import read_batch_rows, read_rejects, read_sink, read_source
from etlmon.core.pipeline_keys import Keys, Scalar, is_scalar, kind_of
from etlmon.core.pipeline_shapes import Column, CsvProcessing, Expect
from etlmon.core.pipeline_values import TYPES, check_format, reader_of


def read_csv_processing(keys: Keys) -> CsvProcessing:
    """The whole config of csv_processing."""
    columns = {
        str(name): _column(str(name), Keys(each, f"columns.{str(name)[:60]}", keys.faults))
        for name, each in keys.named("columns").items()
    }
    names = [column.rename or name for name, column in columns.items()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        keys.fault("columns", f"two columns would be called {name!r} in the output")
    return CsvProcessing(
        source=read_source(keys),
        sink=read_sink(keys),
        rejects=read_rejects(keys),
        columns=columns,
        unknown_columns=keys.word("unknown_columns", ("keep", "drop", "reject"), "keep"),
        expect=_expect(keys.inner("expect")),
        batch_rows=read_batch_rows(keys),
    )


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
