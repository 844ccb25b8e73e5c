"""What an operator sees of a pipeline: its steps under their names, exact progress, its counts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from etlmon.core.pipeline_shapes import STEPS
from world import ServerProcess, wait_until


def test_a_pipeline_reports_its_steps_progress_and_counts(room: Any, server: ServerProcess) -> None:
    room.write("in.csv", "id\n" + "".join(f"{n if n % 10 else 'x'}\n" for n in range(1000)))
    config = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}, "columns": {"id": {"type": "integer"}}}
    spec = room.write("spec.json", json.dumps(room.spec("csv_processing", config)))
    subprocess.run(
        [sys.executable, "-m", "etlmon.pipelines", str(spec)], env=server.env, check=True, capture_output=True
    )

    def finished() -> Any:
        _, raw, _ = server.raw("GET", "/api/jobs?name=orders_nightly")
        jobs = json.loads(raw)["items"]
        return jobs[0] if jobs and jobs[0]["status"] == "completed" else None

    job = wait_until(finished, "the job is completed")
    assert [step["name"] for step in job["summary"]["steps"]] == list(STEPS["csv_processing"])
    assert (job["progressPercent"], job["metrics"]["recordsTotal"], job["metrics"]["recordsFailed"]) == (100, 1000, 100)
    assert job["metrics"]["bytesProcessed"] == (room.files / "in.csv").stat().st_size
    assert (job["outcome"], job["summary"]["recordsOut"]) == ("warning", 900)


SLOW = """
import time
import etlmon.pipelines.flow as flow
tell = flow.Flow._tell
def told(self, **known):
    tell(self, **known)
    open({mark!r}, "a").write("x")
    while not self._run.job.control.wanted:
        time.sleep(0.005)
flow.Flow._tell = told
import sys
from etlmon.pipelines.main import main
sys.exit(main([{spec!r}]))
"""


def test_pause_resume_and_a_drain_while_paused(room: Any, server: ServerProcess) -> None:
    room.write("in.csv", "id\n" + "".join(f"{n}\n" for n in range(1000)))
    config = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}, "batch_rows": 10}
    mark = room.path / "mark"
    spec = room.write("spec.json", json.dumps(room.spec("csv_processing", config)))
    code = SLOW.format(mark=str(mark), spec=str(spec))
    with subprocess.Popen([sys.executable, "-c", code], env=server.env, stdout=subprocess.PIPE) as process:
        try:

            def job() -> Any:
                jobs = json.loads(server.raw("GET", "/api/jobs?name=orders_nightly")[1])["items"]
                return jobs[0] if jobs else None

            wait_until(mark.exists, "the first batch is written")
            found = wait_until(job, "the server knows it")
            wait_until(lambda: server.raw("POST", f"/api/jobs/{found['id']}/pause", {})[0] == 202, "a pause is taken")
            wait_until(lambda: job()["status"] == "paused", "it stands still")
            at = json.loads((room.work / "checkpoint.json").read_bytes())["records_in"]
            assert at == job()["metrics"]["recordsProcessed"] < 1000  # what it was paused at is on disk
            process.terminate()
            result = json.loads(process.communicate()[0])
            assert result["status"] == "released"
        finally:
            process.kill()
    assert room.run("csv_processing", config)["status"] == "completed"
    assert room.text("out.csv") == room.text("in.csv")
