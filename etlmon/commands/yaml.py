"""Records as YAML: the small block style that people read, every doubtful string as a JSON string (which YAML reads).

PyYAML would cost 30 ms of import and print bidi characters raw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from etlmon.core.text import shown_json

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_PAIR = re.compile(r"\\ud([89ab])([0-9a-f]{2})\\ud([c-f])([0-9a-f]{2})")


def to_yaml(value: Any) -> str:
    """The value as a YAML document."""
    return "".join(f"{line}\n" for line in _lines(value, ""))


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{indent}{_scalar(str(key))}:", inner, indent)
    elif isinstance(value, list | tuple) and value:
        for inner in value:
            if isinstance(inner, dict) and inner:
                first, *rest = _lines(inner, f"{indent}  ")
                yield f"{indent}- {first[len(indent) + 2 :]}"
                yield from rest
            else:
                yield from _entry(f"{indent}-", inner, indent)
    else:
        yield f"{indent}{_scalar(value)}"


def _entry(head: str, inner: Any, indent: str) -> Iterator[str]:
    if isinstance(inner, dict | list | tuple) and inner:
        yield head
        yield from _lines(inner, f"{indent}  ")
    else:
        yield f"{head} {_scalar(inner)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, float) and "e" in (text := repr(value)):
        return text if "." in text else text.replace("e", ".0e")  # YAML 1.1 knows no 1e22
    return _PAIR.sub(_wide, shown_json(msgspec.json.encode(value).decode()))


def _wide(pair: re.Match[str]) -> str:
    high, low = int(pair[1] + pair[2], 16) - 0x800, int(pair[3] + pair[4], 16) - 0xC00
    return f"\\U{0x10000 + (high << 10) + low:08x}"
