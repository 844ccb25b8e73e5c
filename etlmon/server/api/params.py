"""Query parameters: a struct declares them, and nothing that it does not declare is let through.

A field's type says how it is read: ``int`` in plain ASCII digits, ``bool`` as true or false, ``tuple`` may be
repeated; anything else is text. Bounds and choices are msgspec's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from etlmon.core.errors import Fault, Invalid, Malformed
from etlmon.core.text import sentence
from etlmon.server.api.bodies import as_invalid, unknown_keys

T = TypeVar("T")

DIGITS = re.compile(r"-?[0-9]{1,18}")
BOOLS = {"true": True, "1": True, "yes": True, "": True, "false": False, "0": False, "no": False}
CREDENTIALS = frozenset({"token", "access_token", "auth", "authorization", "bearer"})
MAX_LENGTH = 4000


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes none."""


class Param(msgspec.Struct, frozen=True):
    """One declared parameter: its name on the wire, and how its text is read."""

    name: str
    kind: str
    repeatable: bool


def _unwrapped(hint: Any) -> Any:
    """The type inside Annotated and optional."""
    if hasattr(hint, "__metadata__"):
        return _unwrapped(get_args(hint)[0])
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is not tuple and type(None) in get_args(hint) and options:
        return _unwrapped(options[0])
    return hint


@lru_cache(maxsize=256)
def declared(cls: type[msgspec.Struct]) -> dict[str, Param]:
    """The parameters that ``cls`` declares, by their names on the wire."""
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(cls):
        hint = _unwrapped(hints[field.name])
        repeatable = get_origin(hint) is tuple
        kind = {int: "int", bool: "bool"}.get(hint, "text")
        found[field.encode_name] = Param(field.encode_name, kind, repeatable)
    return found


def parse_params(pairs: list[tuple[str, str]], cls: type[T]) -> T:
    """The struct of a query string's pairs; Invalid names every unknown, doubled or wrong one."""
    known = declared(cls)  # type: ignore[arg-type]  # every caller gives a Struct; T keeps the caller's type
    values: dict[str, Any] = {}
    faults = list(unknown_keys(dict.fromkeys(name for name, _ in pairs), set(known), "parameter"))
    for name, text in pairs:
        param = known.get(name)
        if param is None:
            continue
        try:
            value = _read(param, text)
        except ValueError as fault:
            faults.append(Fault(name, str(fault)))
            continue
        if param.repeatable:
            values.setdefault(name, []).append(value)
        elif name in values:
            faults.append(Fault(name, "given twice, and it may be given once"))
        else:
            values[name] = value
    if faults:
        raise Invalid(sentence(f"{faults[0].path}: {faults[0].message}"), errors=tuple(faults))
    try:
        return msgspec.convert(values, cls)
    except msgspec.ValidationError as fault:
        raise as_invalid(fault) from None


def _read(param: Param, text: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    match param.kind:
        case "int":
            if not DIGITS.fullmatch(text):
                raise ValueError(f"{text[:40]!r} is not a whole number in plain digits")
            return int(text)
        case "bool":
            if text.lower() not in BOOLS:
                raise ValueError(f"{text[:40]!r} is not true or false")
            return BOOLS[text.lower()]
        case _:
            return text


def refuse_credentials(names: Any) -> None:
    """Malformed when a token came in the URL, where logs and histories keep it."""
    if not CREDENTIALS.isdisjoint(name.lower() for name in names):
        raise Malformed("Tokens are not read from the URL, where logs keep them: use the Authorization header.")
