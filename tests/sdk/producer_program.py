"""A program under test: reports numbered lines until it has said N, or is killed.

python producer_program.py URL SPOOL_DIR JOB_ID LEDGER N [exit|os_exit|hang]
Each number goes to the ledger after the SDK took it.
"""

from __future__ import annotations

import os
import sys

from etlmon.host.endpoint import Endpoint
from etlmon.sdk.reporter import Reporter


def main(url: str, spool_dir: str, job_id: str, ledger: str, n: str, ending: str = "exit") -> None:
    """Report, then end as told."""
    reporter = Reporter(Endpoint(url=url, token="t0ken", origin="test"), spool_dir=spool_dir)
    out = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in range(int(n)):
        if number % 50 == 0:
            reporter.report({"kind": "step_started", "jobId": job_id, "step": f"step {number}"})
        reporter.log(job_id, "info", f"line {number}")
        os.write(out, b".")
    if ending == "os_exit":
        os._exit(0)
    if ending == "hang":
        sys.stdin.read()
    reporter.report({"kind": "completed", "jobId": job_id})


if __name__ == "__main__":
    main(*sys.argv[1:])
