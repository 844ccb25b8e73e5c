"""One attempt from its spec to its result. The worker alone tells the server how the job ended.

SIGTERM drains: it stops at the next checkpoint, ``released``. SIGINT cancels. Pause, resume and cancel otherwise come
to the SDK, from the worker or from the server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import etlmon
from etlmon.core.errors import Invalid
from etlmon.core.pipeline_config import parse_pipeline
from etlmon.core.pipeline_shapes import STEPS
from etlmon.pipelines.ends import ConfigRefused, Drained, PipelineFailed
from etlmon.pipelines.registry import open_pipeline
from etlmon.pipelines.run import Run
from etlmon.pipelines.spec import Spec, read_spec

Result = dict[str, Any]
MAX_SPEC = 4 * 1024 * 1024


def main(argv: list[str]) -> int:
    """The process: 0 when it is completed or released, 1 when not."""
    try:
        raw = Path(argv[0]).read_bytes() if argv else sys.stdin.buffer.read(MAX_SPEC)
        result = attempt(read_spec(raw))
    except ConfigRefused as refusal:
        result = failed(refusal)
    except OSError as fault:
        result = failed(PipelineFailed(f"The spec cannot be read: {fault}."))
    answer(result)
    return 0 if result["status"] in ("completed", "released") else 1


def answer(result: Result) -> None:
    """Write the result where it is waited for."""
    raw = msgspec.json.encode(result)
    fd = os.environ.get("ETLMON_RESULT_FD", "")
    if not fd.isdigit():
        sys.stdout.buffer.write(raw + b"\n")
        sys.stdout.flush()
        return
    with contextlib.suppress(BrokenPipeError), os.fdopen(int(fd), "wb") as pipe:
        pipe.write(raw)


def attempt(spec: Spec) -> Result:
    """Run it as a job of its own, or as the worker's."""
    job = etlmon.job(spec.name or spec.type, type=spec.type, steps=STEPS.get(spec.type)).start()
    with work_directory(spec) as work:
        run = Run(spec, job, work)
        with signals(run):
            result = run_pipeline(run)
    job.summary(**result.get("summary", {}))
    match result["status"]:
        case "completed":
            job.complete()
        case "failed":
            job.fail(result["failure"]["message"])
        case _:
            job.end(etlmon.JobCancelled("the worker stopped" if result["status"] == "released" else None))
    return result


@contextlib.contextmanager
def work_directory(spec: Spec) -> Iterator[Path]:
    """The directory that is kept between attempts; one for this attempt alone when none was given."""
    if spec.work_dir:
        path = Path(spec.work_dir).absolute()
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield path
        return
    made = Path(tempfile.mkdtemp(prefix="etlmon-job-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def signals(run: Run) -> Iterator[None]:
    """What a signal asks is done at the next checkpoint."""

    def drain(*_: object) -> None:
        run.draining.set()
        if run.job.control.paused:  # it would stand still for as long as the pause lasts
            run.job.control.release()

    known = {signal.SIGTERM: drain, signal.SIGINT: lambda *_: run.interrupted.set()}
    before = {number: signal.signal(number, function) for number, function in known.items()}
    try:
        yield
    finally:
        for number, function in before.items():
            signal.signal(number, function)


def run_pipeline(run: Run) -> Result:
    """The pipeline itself; however it ends, the result says so."""
    try:
        pipeline = open_pipeline(run, parse_pipeline(run.spec.type, run.spec.config))
    except Invalid as refusal:
        return failed(ConfigRefused(*refusal.errors))
    except PipelineFailed as failure:
        return failed(failure, step=run.job.current_step)
    except OSError as fault:
        return failed(failure_of(fault), step=run.job.current_step)
    try:
        pipeline.process()
    except Drained:
        return {"status": "released", "summary": pipeline.summary()}
    except etlmon.JobCancelled as cancel:
        pipeline.give_up(None)
        return {"status": "cancelled", "summary": pipeline.summary() | {"reason": cancel.reason}}
    except (PipelineFailed, OSError, sqlite3.Error, MemoryError) as fault:
        why = fault if isinstance(fault, PipelineFailed) else failure_of(fault)
        result = failed(why, step=run.job.current_step)
        pipeline.give_up(why)
        return result | {"summary": pipeline.summary()}
    return {"status": "completed", "summary": pipeline.summary()}


def failed(failure: PipelineFailed, *, step: str | None = None) -> Result:
    """The result of a failure."""
    told: dict[str, Any] = {
        "kind": failure.kind,
        "message": failure.message,
        "errorType": failure.error_type or type(failure).__name__,
        "suggestedActions": list(failure.actions),
    }
    if step is not None:
        told["step"] = step
    summary = {}
    if isinstance(failure, ConfigRefused):
        summary = {"faults": [{"path": fault.path, "message": fault.message} for fault in failure.faults]}
    return {"status": "failed", "failure": told, "summary": summary}


def failure_of(fault: Exception) -> PipelineFailed:
    """What the system refused, in a sentence."""
    name = type(fault).__name__
    if isinstance(fault, OSError) and fault.errno is not None:
        where = f" ({fault.filename})" if fault.filename else ""
        full = fault.strerror in ("No space left on device", "Disk quota exceeded", "File too large")
        actions = ("Free disk space where the output goes, then retry.",) if full else ()
        what = "The disk is full" if full else "The system refused"
        return PipelineFailed(f"{what}: {fault.strerror}{where}; the target is as before.", *actions, error_type=name)
    if isinstance(fault, sqlite3.Error):
        full = "disk is full" in str(fault)
        actions = ("Free disk space where the output goes, then retry.",) if full else ()
        return PipelineFailed(f"SQLite refused: {fault}; the target is as before.", *actions, error_type=name)
    return PipelineFailed(f"{name}: {fault}.", error_type=name)
