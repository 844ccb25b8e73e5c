"""The config of field_mapping, read from its table."""

from __future__ import annotations

import re
from typing import Any

from etlmon.core.pipeline_ends import read_batch_rows, read_rejects, read_sink, read_source
from etlmon.core.pipeline_expression import names_of
from etlmon.core.pipeline_keys import Keys, is_scalar
from etlmon.core.pipeline_shapes import FieldMapping, MappedField
from etlmon.core.pipeline_values import TYPES, check_format
from etlmon.core.text import hint

HOWS = ("from", "concat", "split", "lookup", "date", "const", "expr")


def read_field_mapping(keys: Keys) -> FieldMapping:
    """The whole config of field_mapping."""
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
        source=read_source(keys),
        sink=read_sink(keys),
        rejects=read_rejects(keys),
        fields=fields,
        keep_unmapped=keep,
        required=required,
        drop_if=keys.text("drop_if", check=_check_expression),
        batch_rows=read_batch_rows(keys),
    )


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
