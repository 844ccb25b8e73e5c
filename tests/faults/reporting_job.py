"""A program under test: a job that says numbered lines and steps through the SDK until it is told to stop.

    python reporting_job.py LEDGER STOP_FILE [PAUSE_S]

Prints its job id. Each number is written to the ledger after the SDK took it. Obeys cancel (exit 3) and pause.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import etlmon


def main(ledger: str, stop: str, pause_s: str = "0.01") -> int:
    """Report until stopped or cancelled."""
    out = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with etlmon.job("orders_nightly", type="csv_processing", owner="ana") as job:
            print(job.id, flush=True)
            n = 0
            while not Path(stop).exists():
                if n % 50 == 0:
                    job.step(f"step {n}")
                job.log.info(f"line {n}")
                os.write(out, b".")
                job.progress(current=n)
                job.checkpoint()
                n += 1
                time.sleep(float(pause_s))
    except etlmon.JobCancelled:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
