"""``etlmon server``: run the server in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from etlmon.core.config import Config

COLLECT_AFTER = (50_000, 20, 20)
"""The collector looks this seldom: what the server makes has hardly a cycle, and at 100,000 lines a second its looks
cost a fifth of the writer's time."""


@click.command()
@click.option("--config", metavar="FILE", help="The config file (default: config.toml in the data directory).")
@click.option("--host", metavar="HOST", help="The address to listen on (default: 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="The port (8081); 0 takes a free one.")
@click.option("--data-dir", metavar="DIR", help="Where the store, server.json and admin.token are.")
@click.option("--no-worker", is_flag=True, help="Do not start the embedded worker.")
def server(config: str | None, host: str | None, port: int | None, data_dir: str | None, no_worker: bool) -> None:
    """Run the server in the foreground.

    One line tells its URL when it serves. SIGTERM or Ctrl-C stops it cleanly; a second one hastens it.
    """
    import gc

    gc.disable()  # a tenth of the start is the collector looking at modules; _tell enables it

    from etlmon.core.config_check import read_toml
    from etlmon.core.config_show import given_in
    from etlmon.host.config_file import read
    from etlmon.host.paths import data_dir as find_data_dir
    from etlmon.server.main import run
    from etlmon.server.narration import narrate
    from etlmon.server.wiring import Launch

    home = find_data_dir(data_dir)
    loaded = read(config, data_dir=home)
    origins = dict.fromkeys(given_in(read_toml(loaded.raw)) if loaded.raw else (), "file")
    settings = _with_flags(loaded.config, origins, host, port)
    for warning in loaded.warnings:
        click.echo(f"etlmon: {warning}", err=True)
    narrate(settings.server.log_level, settings.server.log_format)
    run(
        Launch(
            config=settings,
            origins=origins,
            config_file=loaded.path,
            data_dir=home,
            tell=_tell,
            worker=not no_worker,
        )
    )


def _with_flags(config: Config, origins: dict[str, str], host: str | None, port: int | None) -> Config:
    """The config with what the command line sets, which wins; ``origins`` learns it."""
    from msgspec.structs import replace

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if not given:
        return config
    origins.update({f"server.{name}": f"--{name}" for name in given})
    return replace(config, server=replace(config.server, **given))


def _tell(url: str) -> None:
    """The one line on stdout; nobody need be reading it. What was made so far lives for ever: it is set aside."""
    import gc
    import os
    import sys

    try:
        click.echo(f"etlmon serves at {url}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()
