"""TOML bytes → a checked tree of Structs, leaf by leaf, so that every fault is told at once with path and line.

(msgspec's own conversion stops at the first fault.)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from etlmon.core.config_leaf import Leaf, read_leaf, unknown_key
from etlmon.core.errors import Fault, Invalid
from etlmon.core.text import clean_name, sentence

MAX_BYTES = 1_048_576
"""A config file is never larger; what is, is another file."""
MAX_FAULTS = 100
"""As many are told; a file of another program would have thousands."""

_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_.\-\"' ]+?)\s*=")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")
_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the config."""

    def faults(self) -> list[Fault]:
        """What is wrong between settings that are each right alone; paths are relative to the section."""
        return []


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a section: a leaf, or the section type that it holds once, by name (``by_name``) or in a list."""

    name: str
    default: Any
    leaf: Leaf | None = None
    section: type[Section] | None = None
    by_name: bool = False
    listed: bool = False

    @property
    def required(self) -> bool:
        """Whether a config that leaves it out is refused."""
        return self.default is msgspec.NODEFAULT


@cache
def fields_of(section: type[Section]) -> tuple[Field, ...]:
    """The fields of a section's Struct, from its annotations."""
    found = []
    for field in msgspec.structs.fields(section):
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        known: dict[str, Any] = {"name": field.name, "default": default}
        leaf = next((each for each in getattr(field.type, "__metadata__", ()) if isinstance(each, Leaf)), None)
        origin, inner = get_origin(field.type), get_args(field.type)
        if leaf is not None:
            found.append(Field(**known, leaf=leaf))
        elif origin is dict:
            found.append(Field(**known, section=inner[1], by_name=True))
        elif origin is tuple:
            found.append(Field(**known, section=inner[0], listed=True))
        else:
            found.append(Field(**known, section=field.type))
    return tuple(found)


def read_toml(raw: bytes) -> dict[str, Any]:
    """The TOML tree of a config file's bytes; ``errors.Invalid`` with the line of what cannot be read."""
    if len(raw) > MAX_BYTES:
        raise refusal([Fault("", f"the file is larger than {MAX_BYTES} bytes")])
    if raw.startswith(b"\xef\xbb\xbf"):
        raise refusal([Fault("", "line 1: it begins with a byte-order mark: save it as UTF-8 without one")])
    if not raw.strip():
        raise refusal([Fault("", "the file is empty: half-written? (a comment alone is enough)")])
    text = _decoded(raw)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise refusal([Fault("", "it is nested too deeply")]) from None
    except ValueError as fault:
        line = _LINE.search(str(fault))
        told = _LINE.sub("", str(fault)).strip()
        raise refusal([Fault("", f"line {line[1]}: {told}" if line else told[:200])]) from None


def _decoded(raw: bytes) -> str:
    at = raw.find(b"\r")
    if at >= 0:
        line = raw.count(b"\n", 0, at) + 1
        raise refusal([Fault("", f"line {line}: it ends in a carriage return: save the file with Unix line ends")])
    try:
        return raw.decode()
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise refusal([Fault("", f"line {line}: it is not UTF-8 text")]) from None


def refusal(faults: list[Fault]) -> Invalid:
    """The error that refuses a config, with every fault."""
    first = faults[0]
    told = f"{first.path}: {first.message}" if first.path else first.message
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Invalid(sentence(f"The config is refused: {told}{more}"), errors=tuple(faults[:MAX_FAULTS]))


SectionT = TypeVar("SectionT", bound=Section)


def read_section(
    section: type[SectionT], table: Any, path: str, env: Mapping[str, str], faults: list[Fault]
) -> SectionT | None:
    """A section from its TOML table; what is wrong is added to ``faults``, and then the answer may be None."""
    if not isinstance(table, dict):
        faults.append(Fault(path, f"must be a table: [{path}]"))
        return None
    fields, n_faults = {field.name: field for field in fields_of(section)}, len(faults)
    for name in table.keys() - fields.keys():
        faults.append(Fault(_joined(path, quoted_key(name)), unknown_key(name, list(fields))))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        place = _joined(path, name)
        if name in table:
            values[name] = _read_field(field, table[name], place, env, faults)
        elif field.required:
            faults.append(Fault(place, "is needed and missing"))
    if len(faults) > n_faults:
        return None
    read = section(**values)
    faults += [Fault(_joined(path, fault.path), fault.message) for fault in read.faults()]
    return read if len(faults) == n_faults else None


def _read_field(field: Field, value: Any, path: str, env: Mapping[str, str], faults: list[Fault]) -> Any:
    if field.leaf is not None:
        try:
            return read_leaf(field.leaf, value, env)
        except ValueError as fault:
            faults.append(Fault(path, str(fault)))
            return None
    section = field.section
    assert section is not None  # noqa: S101  # a field is a leaf or holds sections
    if field.listed:
        if not isinstance(value, list):
            faults.append(Fault(path, f"must be a list of tables: [[{path}]]"))
            return None
        return tuple(read_section(section, each, f"{path}[{n}]", env, faults) for n, each in enumerate(value))
    if field.by_name:
        return _read_named(section, value, path, env, faults)
    return read_section(section, value, path, env, faults)


def _read_named(
    section: type[Section], value: Any, path: str, env: Mapping[str, str], faults: list[Fault]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        faults.append(Fault(path, f"must be tables: [{path}.NAME]"))
        return {}
    for name in value:
        if not name or clean_name(name) != name:
            faults.append(
                Fault(_joined(path, quoted_key(name)), "the name must have 1 to 200 characters, none of them a control")
            )
    return {
        name: read_section(section, each, _joined(path, quoted_key(name)), env, faults) for name, each in value.items()
    }


def quoted_key(name: str) -> str:
    """A table's or setting's name as it stands in a dotted path: in quotes when it is not a plain word."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name[:60]}"'


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def with_lines(faults: list[Fault], raw: bytes) -> list[Fault]:
    """The faults in the file's order, each with the line that its path, or what holds it, is written on."""
    lines = _lines(raw.decode(errors="replace"))
    placed = sorted((_line_of(fault.path, lines), at, fault) for at, fault in enumerate(faults))
    return [Fault(fault.path, f"{fault.message} (line {line})" if line else fault.message) for line, _, fault in placed]


def _line_of(path: str, lines: dict[str, int]) -> int:
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return 0


def _lines(text: str) -> dict[str, int]:
    """Path → line of its first mention. A guess by the look of the lines: it only serves messages."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _path(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            _mention(table, number, lines)
        elif assignment := _ASSIGNMENT.match(line):
            key = _path(assignment[1])
            _mention(f"{table}.{key}" if table else key, number, lines)
    return lines


def _mention(path: str, number: int, lines: dict[str, int]) -> None:
    while path:
        lines.setdefault(path, number)
        path = path[: max(path.rfind("."), 0)]


def _path(written: str) -> str:
    path = ""
    for part in _PART.finditer(written):
        path = _joined(path, quoted_key(part[1] or part[2] or part[3] or ""))
    return path
