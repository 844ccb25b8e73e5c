"""``etlmon demo``: a server and real jobs over the shipped data; in the console, or line by line without a terminal."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from etlmon.demo.stage import Stage
    from etlmon.demo.watch import Scene
    from etlmon.host.endpoint import Endpoint

ROWS_PER_SECOND = 6_000
"""Slow enough to watch (9 s for the whole file), fast enough for a first look."""
DEADLINE_S = 180.0
EXPECTED = {
    "flights_load": "completed",
    "carrier_report": "completed",
    "broken_feed": "failed",
    "clean_flights": "completed",
    "map_flights": "completed",
    "upload_flights": "completed",
}
"""How the demo's jobs end when all is well: one is given the wrong file."""


@click.command()
@click.option("--no-tui", is_flag=True, help="Print progress line by line, as without a terminal.")
@click.option("--keep", is_flag=True, help="Afterwards leave the server running until Ctrl-C, and keep its files.")
def demo(no_tui: bool, keep: bool) -> None:
    """Run a server, a worker and real jobs over two months of flight data, and show them live."""
    directory = Path(tempfile.mkdtemp(prefix="etlmon-demo-"))
    try:
        sys.exit(_perform(directory, keep=keep, draw=sys.stdout.isatty() and not no_tui))
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _perform(directory: Path, *, keep: bool, draw: bool) -> int:
    from etlmon.demo.lines import summary
    from etlmon.demo.stage import Stage

    stage = Stage(directory, rows_per_second=ROWS_PER_SECOND)

    def leave(number: int, frame: object) -> None:
        """The terminal is gone, or somebody ends us: nothing of the demo stays behind."""
        stage.close()
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        os._exit(128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        stage.open()
        click.echo(f"A server of the demo's own serves {stage.url}")
        scene = _show(stage, draw=draw)
        click.echo("\n" + "\n".join(summary(scene)))
        if keep:
            _hold(stage)
        ended = {job["name"]: job["status"] for job in scene.jobs.values()}
        return 0 if ended == EXPECTED or not scene.is_over else 1  # who leaves the console early is not told off
    finally:
        stage.close()


def _show(stage: Stage, *, draw: bool) -> Scene:
    """Follow the jobs to their ends, line by line; or in the console until the person leaves it."""
    from etlmon.demo.lines import Printer
    from etlmon.demo.watch import Scene, watch
    from etlmon.host.endpoint import find_endpoint

    def find() -> Endpoint:
        return find_endpoint(data_dir=stage.data_dir)

    scene = Scene((lambda _: None) if draw else Printer(click.echo))
    if draw:
        from etlmon.tui.app import Console

        Console(find, server="demo", beside=lambda: watch(find(), scene, started=stage.begin, deadline_s=None)).run()
    else:
        asyncio.run(watch(find(), scene, started=stage.begin, deadline_s=DEADLINE_S))
    return scene


def _hold(stage: Stage) -> None:
    click.echo(f"\nThe server goes on at {stage.url} until Ctrl-C. In another shell:")
    click.echo(f"  export ETLMON_DATA_DIR={stage.data_dir}\n  etlmon jobs list\n  etlmon logs -q rejected")
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo(f"Ended. Its files are in {stage.directory}")
