"""One setting: what it may hold, how it is read from TOML and written back. Knows of no particular setting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from etlmon.core.durations import exact_duration, exact_size, parse_duration, parse_size
from etlmon.core.text import clean_name, hint, nearest

MAX_DEPTH = 32
"""How deep tables may lie in each other where a setting takes any TOML."""


class Kind(StrEnum):
    """What a setting holds; the value is its unit or form as the documentation names it."""

    TEXT = "text"
    WORD = "word"
    FLAG = "true or false"
    COUNT = "whole number"
    SHARE = "share from 0 to 1"
    DURATION = "duration"
    SIZE = "size"
    TEXTS = "list of texts"
    SECRET = "secret"  # noqa: S105  # the word, not one
    ADDRESS = "text or secret"
    TAGS = "table of texts"
    TABLE = "table"


class Secret(msgspec.Struct, frozen=True):
    """Where a secret is: in an environment variable, in a file, or (an ADDRESS only) in the config itself."""

    env: str | None = None
    file: str | None = None
    text: str | None = None

    def __repr__(self) -> str:
        """The reference; never the secret."""
        return f"Secret({write_secret(self)})"


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one setting beside its type and default.

    ``low`` and ``high`` bound numbers, durations (ms) and sizes (bytes); ``pattern`` must match a text whole, and
    ``form`` then says how it is written; ``check`` reads a text and raises ValueError when it makes no sense.
    ``restart``: a change waits for the server's next start.
    """

    kind: Kind
    doc: str
    unit: str | None = None
    words: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    pattern: str | None = None
    form: str = ""
    check: Callable[[str], object] | None = None
    restart: bool = False
    example: str | None = None


def text(doc: str, **known: Any) -> Leaf:
    """A text."""
    return Leaf(kind=Kind.TEXT, doc=doc, **known)


def word(doc: str, *words: str, **known: Any) -> Leaf:
    """One of ``words``."""
    return Leaf(kind=Kind.WORD, doc=doc, words=words, **known)


def flag(doc: str, **known: Any) -> Leaf:
    """True or false."""
    return Leaf(kind=Kind.FLAG, doc=doc, **known)


def count(doc: str, low: int = 0, high: int = 1_000_000_000, **known: Any) -> Leaf:
    """A whole number."""
    return Leaf(kind=Kind.COUNT, doc=doc, low=low, high=high, **known)


def share(doc: str, **known: Any) -> Leaf:
    """A share from 0 to 1."""
    return Leaf(kind=Kind.SHARE, doc=doc, **known)


def duration(doc: str, low: int = 0, high: int | None = None, **known: Any) -> Leaf:
    """A duration, bounded in ms."""
    return Leaf(kind=Kind.DURATION, doc=doc, low=low, high=high, **known)


def size(doc: str, low: int = 0, **known: Any) -> Leaf:
    """A size, bounded in bytes."""
    return Leaf(kind=Kind.SIZE, doc=doc, low=low, **known)


def texts(doc: str, **known: Any) -> Leaf:
    """A list of texts."""
    return Leaf(kind=Kind.TEXTS, doc=doc, **known)


def secret(doc: str, **known: Any) -> Leaf:
    """A secret, by reference only."""
    return Leaf(kind=Kind.SECRET, doc=doc, **known)


def address(doc: str, **known: Any) -> Leaf:
    """A text, or a secret by reference."""
    return Leaf(kind=Kind.ADDRESS, doc=doc, **known)


def tags(doc: str) -> Leaf:
    """A table of texts."""
    return Leaf(kind=Kind.TAGS, doc=doc)


def table(doc: str) -> Leaf:
    """Any TOML table; someone else checks what is in it."""
    return Leaf(kind=Kind.TABLE, doc=doc)


def read_leaf(leaf: Leaf, value: Any, env: Mapping[str, str]) -> Any:
    """The typed value of a setting; ValueError says what it must be."""
    match leaf.kind:
        case Kind.TEXT:
            return _read_text(leaf, value)
        case Kind.WORD:
            return _read_word(leaf, value)
        case Kind.FLAG:
            return _of_type(bool, value, "must be true or false")
        case Kind.COUNT:
            return _bounded(leaf, _of_type(int, value, "must be a whole number"))
        case Kind.SHARE:
            return _read_share(value)
        case Kind.DURATION:
            return _bounded(leaf, parse_duration(_of_type(str, value, 'must be a duration in quotes, as "90s"')))
        case Kind.SIZE:
            return _bounded(leaf, parse_size(_of_type(str, value, 'must be a size in quotes, as "16KB"')))
        case Kind.TEXTS:
            items = _of_type(list, value, "must be a list of texts")
            return tuple(_read_text(leaf, item) for item in items)
        case Kind.SECRET | Kind.ADDRESS:
            return _read_secret(leaf, value, env)
        case Kind.TAGS:
            return _read_tags(value)
        case Kind.TABLE:
            return _read_table(value)


def _kind_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def _of_type(wanted: type, value: Any, message: str) -> Any:
    if type(value) is not wanted:  # not isinstance: True is no whole number
        raise ValueError(f"{message}, not {_kind_of(value)}")
    return value


def _read_text(leaf: Leaf, value: Any) -> str:
    written: str = _of_type(str, value, "must be a text")
    if "\x00" in written or len(written) > 4096:
        raise ValueError("must be a text of at most 4096 characters without NUL")
    if leaf.pattern is not None and not re.fullmatch(leaf.pattern, written):
        raise ValueError(f"must be {leaf.form}")
    if leaf.check is not None:
        leaf.check(written)
    return written


def _read_word(leaf: Leaf, value: Any) -> str:
    written: str = _of_type(str, value, "must be a text")
    known = written.lower()
    if known not in leaf.words:
        raise ValueError(f"must be one of {', '.join(leaf.words)}{hint(written, leaf.words)}")
    return known


def _bounded(leaf: Leaf, value: int) -> int:
    written = {Kind.DURATION: exact_duration, Kind.SIZE: exact_size}.get(leaf.kind, str)
    if leaf.low is not None and value < leaf.low:
        raise ValueError(f"must be at least {written(leaf.low)}")
    if leaf.high is not None and value > leaf.high:
        raise ValueError(f"must be at most {written(leaf.high)}")
    return value


def _read_share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("must be a share from 0 to 1, as 0.9")
    return float(value)


def _read_secret(leaf: Leaf, value: Any, env: Mapping[str, str]) -> Secret:
    forms = '{env = "NAME"} or {file = "path"}'
    if isinstance(value, str) and leaf.kind is Kind.ADDRESS:
        return Secret(text=_read_text(leaf, value))
    if not isinstance(value, dict):
        raise ValueError(f"must be {forms}: a secret does not stand in the config")
    if len(value) != 1 or not value.keys() <= {"env", "file"}:
        raise ValueError(f"must be {forms}")
    where, name = next(iter(value.items()))
    if not isinstance(name, str) or not name or "\x00" in name:
        raise ValueError(f"must be {forms}")
    if where == "env" and not env.get(name):
        raise ValueError(f"the environment variable {name} is not set")
    return Secret(**{where: name})


def _read_tags(value: Any) -> dict[str, str]:
    named = _of_type(dict, value, "must be a table of texts")
    for name, item in named.items():
        if not isinstance(item, str) or clean_name(name) != name or clean_name(item) != item or not name:
            raise ValueError(f"{name[:40]!r} must be a text of at most 200 characters without control characters")
    return dict(named)


def _read_table(value: Any) -> dict[str, Any]:
    whole: dict[str, Any] = _of_type(dict, value, "must be a table")
    level: list[Any] = [whole]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
        for each in level:
            if isinstance(each, float) and not math.isfinite(each):
                raise ValueError("must not hold inf or nan")
            if not isinstance(each, str | int | float | list | dict):
                raise ValueError("must not hold dates or times: write them as texts")
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return whole
    raise ValueError(f"must not be nested deeper than {MAX_DEPTH}")


def show_leaf(leaf: Leaf, value: Any) -> Any:
    """The value as a person reads it, in what JSON can hold: ``"90s"``, ``8081``, ``["…"]``; secrets as references."""
    if value is None:
        return None
    match leaf.kind:
        case Kind.DURATION:
            return exact_duration(value)
        case Kind.SIZE:
            return exact_size(value)
        case Kind.TEXTS:
            return list(value)
        case Kind.SECRET | Kind.ADDRESS:
            return write_secret(value)
        case _:
            return value


def write_secret(secret: Secret) -> str:
    """A secret's reference as TOML; a secret that stands in the config is starred out."""
    if secret.env is not None:
        return f'{{env = "{secret.env}"}}'
    return f'{{file = "{secret.file}"}}' if secret.file is not None else "***"


def to_toml(value: Any) -> str:
    """What ``show_leaf`` gives, as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case list():
            return f"[{', '.join(to_toml(each) for each in value)}]"
        case dict():
            return "{" + ", ".join(f"{name} = {to_toml(each)}" for name, each in value.items()) + "}"
        case _:
            return str(value)


def unknown_key(name: str, known: list[str]) -> str:
    """What to say of a key that does not exist."""
    close = nearest(name, known)
    return f"unknown key: did you mean {close!r}?" if close else f"unknown key (known: {', '.join(known)})"
