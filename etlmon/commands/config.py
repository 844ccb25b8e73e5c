"""``etlmon config``: what is set on this machine, and whether it is right. Reads and writes files; asks no server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from etlmon.commands.context import Context, pass_context
from etlmon.commands.lazy import Entry, LazyGroup

COMMANDS = {
    "show": Entry("etlmon.commands.config:show", "The settings that hold; --origin tells where each is from."),
    "validate": Entry("etlmon.commands.config:validate", "Check a config file; tells every fault."),
    "path": Entry("etlmon.commands.config:path", "Print which config file is read.", prints=False),
    "init": Entry("etlmon.commands.config:init", "Write a commented config file to start from.", prints=False),
}

config = LazyGroup("config", table=COMMANDS, help="Show, check and create the config file of this machine.")


@click.command()
@click.argument("prefix", required=False, metavar="[PREFIX]")
@click.option("--origin", is_flag=True, help="Also where each setting is from.")
@pass_context
def show(context: Context, prefix: str | None, origin: bool) -> None:
    """The settings that hold, or those that begin with PREFIX (as monitoring.logs). Secrets show as references."""
    from etlmon.commands.output import Column, note
    from etlmon.core.config_check import read_toml
    from etlmon.core.config_show import effective, given_in
    from etlmon.core.errors import NotFound
    from etlmon.core.text import hint, sentence
    from etlmon.host.config_file import read

    loaded = read(context.config, data_dir=context.data_dir)
    known = effective(loaded.config, given_in(read_toml(loaded.raw)) if loaded.path else frozenset())
    chosen = [each for each in known if prefix is None or f"{each.path}.".startswith(prefix.rstrip(".") + ".")]
    if prefix is not None and not chosen:
        raise NotFound(sentence(f"There is no setting {prefix!r}{hint(prefix, [each.path for each in known])}"))
    for warning in loaded.warnings:
        note(warning)
    place = str(loaded.path)
    items = [msgspec.to_builtins(each) | {"origin": place if each.origin == "file" else each.origin} for each in chosen]
    columns = [
        Column("KEY", lambda item, look: str(item["path"])),
        Column("VALUE", lambda item, look: _cell(item["value"]), elastic=16),
    ]
    where = Column("ORIGIN", lambda item, look: str(item["origin"]))
    unit = Column("UNIT", lambda item, look: str(item["unit"]))
    restart = Column("RESTART", lambda item, look: "yes" if item["restart"] else "no")
    wide = [unit, restart] if origin else [where, unit, restart]
    context.printer().items(items, [*columns, where] if origin else columns, wide=wide, key="path")


def _cell(value: Any) -> str:
    from etlmon.core.config_leaf import to_toml

    if value is None:
        return "-"
    return value if isinstance(value, str) else to_toml(value)


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@pass_context
def validate(context: Context, file: Path | None) -> None:
    """Check FILE, or the file that would be read. Exit code 2 and every fault with its path when it is wrong."""
    from etlmon.commands.output import note
    from etlmon.core.config_check import read_toml
    from etlmon.core.config_show import given_in
    from etlmon.host.config_file import read

    loaded = read(file or context.config, data_dir=context.data_dir)
    for warning in loaded.warnings:
        note(warning)
    n_given = len(given_in(read_toml(loaded.raw))) if loaded.path else 0
    item = {"path": str(loaded.path) if loaded.path else None, "valid": True, "settings": n_given}

    def lines(_item: Any, _look: Any) -> Iterator[tuple[str, str]]:
        yield "ok", f"{loaded.path} ({n_given} settings)" if loaded.path else "no config file: every default holds"

    context.printer().item(item, lines, key="path")


@click.command()
@pass_context
def path(context: Context) -> None:
    """Print the config file that is read: --config, else ETLMON_CONFIG, else config.toml in the data directory."""
    from etlmon.commands.output import note, write
    from etlmon.core.text import shown
    from etlmon.host.paths import config_file

    file = config_file(context.config, context.data_dir)
    write(shown(str(file)) + "\n")
    if not file.exists():
        note("It is not there: every default holds. `etlmon config init` writes one to start from.")


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option("-f", "--force", is_flag=True, help="Replace the file if it is there.")
@pass_context
def init(context: Context, file: Path | None, force: bool) -> None:
    """Write a config file with every setting, its default and meaning, all commented out; only you can read it."""
    from etlmon.commands.output import write
    from etlmon.core.config_show import starter
    from etlmon.core.errors import Conflict
    from etlmon.core.text import shown
    from etlmon.host.endpoint import write_private
    from etlmon.host.paths import config_file

    target = config_file(file or context.config, context.data_dir)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = starter().encode()
    if force:
        write_private(target, content)
    else:
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Conflict(f"{target} is there already: give --force to replace it.") from None
        with os.fdopen(descriptor, "wb") as fresh:
            fresh.write(content)
    write(shown(str(target)) + "\n")
