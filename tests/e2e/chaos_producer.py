"""A program under test of endurance: reports numbered lines and steps until it is killed or told to stop.

    python chaos_producer.py JOB_ID LEDGER STOP_FILE

Each number is written to the ledger after the report was taken by the SDK, so what the ledger holds reached the spool.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from etlmon.sdk.reporter import Reporter

BURST = 12


def main(job_id: str, ledger: Path, stop: Path) -> None:
    """Report until stopped."""
    reporter = Reporter()
    out = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    reporter.report({"kind": "job_started", "jobId": job_id, "name": "chaos", "type": "endurance"})
    n = 0
    while not stop.exists():
        for _ in range(BURST):
            reporter.log(job_id, "warning" if n % 10 == 0 else "info", f"line {n}")
            if n % 50 == 0:
                reporter.report({"kind": "step_started", "jobId": job_id, "step": f"step {n}"})
                reporter.report({"kind": "progress", "jobId": job_id, "recordsProcessed": n})
            n += 1
            os.write(out, b".")
        time.sleep(0.05)
    reporter.report({"kind": "completed", "jobId": job_id})
    reporter.close(30.0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
