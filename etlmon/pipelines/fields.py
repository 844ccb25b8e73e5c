"""The fields of a mapping, compiled: each is a function of a record's values; ValueError says why it cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from etlmon.core.errors import Fault
from etlmon.core.pipeline_expression import compile_expression
from etlmon.core.pipeline_shapes import MappedField
from etlmon.core.pipeline_values import brief, iso, read_datetime, reader_of, written
from etlmon.core.text import hint
from etlmon.pipelines.ends import ConfigRefused
from etlmon.pipelines.lookups import MISSING, Find

Maker = Callable[[Sequence[Any]], Any]


def is_missing(value: Any) -> bool:
    """Null, or the empty text that CSV has in its place."""
    return value is None or value == ""


def compile_field(field: MappedField, names: Mapping[str, int], find: Find | None) -> Maker:
    """What makes the field; ValueError when it names a column that is not there."""
    places = [_place(name, names) for name in field.sources]
    match field.how:
        case "from":
            return _renamed(field, places[0])
        case "concat":
            return lambda row: field.separator.join(written(row[place]) for place in places)
        case "split":
            return _split(field, places[0])
        case "lookup":
            assert find is not None  # noqa: S101 - made for each lookup
            return _looked_up(field, places[0], find)
        case "date":
            return _dated(field, places[0])
        case "expr":
            return compile_expression(field.expr, names)
        case _:
            return lambda row: field.const


def _place(name: str, names: Mapping[str, int]) -> int:
    if name not in names:
        raise ValueError(f"there is no column {name!r}{hint(name, names)}")
    return names[name]


def _renamed(field: MappedField, place: int) -> Maker:
    default = field.default
    if field.type is None:
        if default is None:
            return lambda row: row[place]
        return lambda row: default if is_missing(row[place]) else row[place]
    read = reader_of(field.type, field.format)
    keeps_empty = field.type == "string"

    def cast(row: Sequence[Any]) -> Any:
        value = row[place]
        if is_missing(value):
            return default if default is not None or not keeps_empty else value
        return read(written(value).strip() if not keeps_empty else written(value))

    return cast


def _split(field: MappedField, place: int) -> Maker:
    separator, part, default = field.separator, field.part, field.default

    def split(row: Sequence[Any]) -> Any:
        parts = written(row[place]).split(separator, part + 1)
        return parts[part] if len(parts) > part else default

    return split


def _looked_up(field: MappedField, place: int, find: Find) -> Maker:
    rejects, default = field.missing == "reject", field.default

    def look_up(row: Sequence[Any]) -> Any:
        found = find(written(row[place]))
        if found is not MISSING:
            return found
        if rejects:
            raise ValueError(f"{brief(written(row[place]))} is not in the lookup table")
        return default

    return look_up


def _dated(field: MappedField, place: int) -> Maker:
    zone = zone_of(field)
    form, output, default = field.format, field.output, field.default

    def dated(row: Sequence[Any]) -> Any:
        text = written(row[place]).strip()
        if not text:
            return default
        value = _read(text, form)
        if zone is not None:  # a text without a zone is meant to be in it, one with its own is brought to it
            value = value.replace(tzinfo=zone) if value.tzinfo is None else value.astimezone(zone)
        try:
            return value.strftime(output) if output is not None else iso(value)
        except ValueError:
            raise ValueError(f"{brief(text)} cannot be written as {output}") from None

    return dated


def _read(text: str, form: str | None) -> datetime:
    if form is None:
        return read_datetime(text)
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is in the format, or comes after
    except ValueError:
        raise ValueError(f"{brief(text)} is not of the form {form}") from None


def zone_of(field: MappedField) -> ZoneInfo | None:
    """The zone of a date field; ValueError when this machine does not know it."""
    if field.timezone is None:
        return None
    try:
        return ZoneInfo(field.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{field.timezone!r} is not a zone that this machine knows") from None


def refuse_unknown_zones(fields: Sequence[MappedField]) -> None:
    """ConfigRefused with each field whose zone is not known here."""
    faults = []
    for at, field in enumerate(fields):
        try:
            zone_of(field)
        except ValueError as fault:
            faults.append(Fault(f"fields[{at}].timezone", str(fault)))
    if faults:
        raise ConfigRefused(*faults)
