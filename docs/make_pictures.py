"""Make the README's picture from a running demo: python docs/make_pictures.py"""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from rich.console import Console

from etlmon.demo.screen import drawn
from etlmon.demo.stage import Stage
from etlmon.demo.watch import Scene, watch
from etlmon.host.endpoint import find_endpoint

HERE = Path(__file__).parent


def main() -> None:
    """Record the screen when the load is half done."""
    console = Console(record=True, width=110, height=20, force_terminal=True, file=io.StringIO())
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory), rows_per_second=6_000)
        taken: list[bool] = []

        def snap(change: object) -> None:
            if (
                not taken
                and isinstance(change, dict)
                and change["name"] == "flights_load"
                and (change["progressPercent"] or 0) > 55
            ):
                taken.append(True)
                console.print(drawn(scene))

        scene = Scene(snap)
        try:
            stage.open()
            endpoint = find_endpoint(data_dir=stage.data_dir)
            asyncio.run(watch(endpoint, scene, started=stage.begin, deadline_s=120))
        finally:
            stage.close()
    console.save_svg(str(HERE / "demo.svg"), title="etlmon demo")


if __name__ == "__main__":
    main()
