"""Make the README's pictures from a running demo: python docs/make_pictures.py"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from etlmon.demo.stage import JOBS, Stage
from etlmon.demo.watch import Scene, watch
from etlmon.host.endpoint import Endpoint, find_endpoint
from etlmon.tui.app import Console

HERE = Path(__file__).parent
SIZE = (120, 30)
HALF_DONE = 45.0


def main() -> None:
    """The table while the load is under way, the failed job, its logs."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory), rows_per_second=6_000)
        try:
            stage.open()
            asyncio.run(_take(stage))
        finally:
            stage.close()


async def _take(stage: Stage) -> None:
    def find() -> Endpoint:
        return find_endpoint(data_dir=stage.data_dir)

    scene = Scene(lambda _: None)
    app = Console(find, server="demo", beside=lambda: watch(find(), scene, started=stage.begin, deadline_s=None))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        async with asyncio.timeout(120):
            while not any((job["progressPercent"] or 0) >= HALF_DONE and job["status"] == "running"
                          for job in scene.jobs.values() if job["name"] == JOBS[0]):  # fmt: skip
                await pilot.pause(0.05)
        (HERE / "jobs.svg").write_text(app.export_screenshot(title="etlmon"))
        for name, keys in (("job", ("home", "enter")), ("logs", ("escape", "2"))):
            await pilot.press(*keys)
            await pilot.pause(1.5)
            (HERE / f"{name}.svg").write_text(app.export_screenshot(title="etlmon"))


if __name__ == "__main__":
    main()
