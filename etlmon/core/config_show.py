"""The settings laid out for people: each with its default; the effective ones with their origin; a starter file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgspec

from etlmon.core.config import Config
from etlmon.core.config_check import Field, Section, fields_of, quoted_key
from etlmon.core.config_leaf import Kind, Leaf, show_leaf, to_toml


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the config file. ``path`` is dotted: ``server.port``, ``channels[].kind``, ``jobs.NAME.retries``.

    ``default`` is written as TOML; None when there is none (``required``, or unset until given: see ``example``).
    """

    path: str
    default: str | None
    unit: str
    doc: str
    restart: bool
    required: bool
    example: str | None


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """What holds now for one key, as a person reads it (a secret as its reference), and whether the file says so."""

    path: str
    value: Any
    origin: str
    unit: str
    restart: bool


def describe() -> list[Setting]:
    """Every setting there is, in the order of the file."""
    return list(_describe(Config, ""))


def _describe(section: type[Section], path: str) -> Iterator[Setting]:
    for field in fields_of(section):
        place = f"{path}.{field.name}" if path else field.name
        if field.leaf is not None:
            yield _setting(field, field.leaf, place)
        elif field.section is not None:
            yield from _describe(field.section, place + ("[]" if field.listed else ".NAME" if field.by_name else ""))


def _setting(field: Field, leaf: Leaf, path: str) -> Setting:
    unset = field.required or field.default is None
    example = to_toml(show_leaf(leaf, field.default)) if not unset else _example(leaf)
    return Setting(
        path=path,
        default=None if unset else example,
        unit=unit_of(leaf),
        doc=leaf.doc,
        restart=leaf.restart,
        required=field.required,
        example=example,
    )


def _example(leaf: Leaf) -> str:
    if leaf.words:
        return to_toml(leaf.words[0])
    if leaf.kind is Kind.SECRET:
        return f'{{env = "{leaf.example}"}}'
    return "{}" if leaf.kind is Kind.TABLE else to_toml(leaf.example or "name")


def unit_of(leaf: Leaf) -> str:
    """The unit or form of a setting's value, for a column of a table."""
    if leaf.words:
        return " | ".join(leaf.words)
    return leaf.unit or leaf.kind.value


def effective(config: Config, given: frozenset[str] = frozenset()) -> list[Effective]:
    """Every setting as it holds, with ``file`` as the origin of the paths in ``given`` and ``default`` for the rest."""
    return list(_effective(config, "", given))


def _effective(section: Section, path: str, given: frozenset[str]) -> Iterator[Effective]:
    for field in fields_of(type(section)):
        place, value = f"{path}.{field.name}" if path else field.name, getattr(section, field.name)
        if field.leaf is not None:
            yield Effective(
                path=place,
                value=show_leaf(field.leaf, value),
                origin="file" if place in given else "default",
                unit=unit_of(field.leaf),
                restart=field.leaf.restart,
            )
        elif field.listed:
            for at, each in enumerate(value):
                yield from _effective(each, f"{place}[{at}]", given)
        elif field.by_name:
            for name, each in value.items():
                yield from _effective(each, f"{place}.{quoted_key(name)}", given)
        else:
            yield from _effective(value, place, given)


def given_in(tree: dict[str, Any]) -> frozenset[str]:
    """The paths of the settings that a file's TOML tree sets."""
    return frozenset(_given(Config, tree, ""))


def _given(section: type[Section], table: dict[str, Any], path: str) -> Iterator[str]:
    for field in fields_of(section):
        if field.name not in table:
            continue
        place, value = f"{path}.{field.name}" if path else field.name, table[field.name]
        if field.section is None:
            yield place
        elif field.listed:
            for at, each in enumerate(value):
                yield from _given(field.section, each, f"{place}[{at}]")
        elif field.by_name:
            for name, each in value.items():
                yield from _given(field.section, each, f"{place}.{quoted_key(name)}")
        else:
            yield from _given(field.section, value, place)


def starter() -> str:
    """A config file that changes nothing: every setting with its default, commented out, and what it means."""
    lines = [
        "# etlmon's configuration. Every setting stands here at its default: take the # before it away to change it.",
        '# Durations: "500ms", "90s", "25m", "1h30m", "30d". Sizes: "16KB", "10GB" (1000) or "10GiB" (1024).',
        '# Secrets: {env = "NAME"} or {file = "path"}. Check the file with: etlmon config validate',
    ]
    for path, settings in groupby(describe(), key=lambda setting: setting.path.rpartition(".")[0]):
        lines += ["", table_header(path)]
        for setting in settings:
            lines += [f"# {meaning(setting)}", f"#{setting.path.rpartition('.')[2]} = {setting.example}"]
    return "\n".join(lines) + "\n"


def table_header(path: str) -> str:
    """The TOML header of a section; commented out where it would make a channel, job or profile."""
    if path.endswith("[]"):
        return f"#[[{path.removesuffix('[]')}]]"
    return f"#[{path}]" if path.endswith(".NAME") else f"[{path}]"


def meaning(setting: Setting) -> str:
    """What a setting means, in one line, with its unit and whether it waits for a restart."""
    needed = ["needed"] if setting.required else ["unset unless given"] if setting.default is None else []
    restart = ["needs a restart"] if setting.restart else []
    return f"{setting.doc} ({'; '.join([setting.unit, *needed, *restart])})"
