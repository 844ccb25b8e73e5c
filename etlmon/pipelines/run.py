"""One attempt: its job, its work directory, its places, and the checkpoint where it may be held, stopped or drained."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import etlmon
from etlmon.core.errors import Fault
from etlmon.core.pipeline_shapes import PipelineConfig, Rejects, Sink, Source
from etlmon.host.clock import monotonic_s
from etlmon.pipelines import checkpoint as checkpoints
from etlmon.pipelines.checkpoint import Checkpoint
from etlmon.pipelines.ends import ConfigRefused, Drained
from etlmon.pipelines.places import STDIN, NotAllowed, Places, check_target
from etlmon.pipelines.spec import Spec

SAVE_S = 1.0
"""How much work a crash may cost: a checkpoint is saved when the last one is older."""
REJECTS_END = ".rejects.jsonl"


class Run:
    """What the parts of a pipeline share."""

    def __init__(self, spec: Spec, job: etlmon.Job, work: Path) -> None:
        self.spec = spec
        self.job = job
        self.work = work
        self.places = Places(spec.cwd, spec.allowed_roots)
        self.key = hashlib.sha256(str(work).encode()).hexdigest()[:12]
        """The job's own word in the names of what it stages; the same for each attempt."""
        self.draining = threading.Event()
        self.interrupted = threading.Event()
        self.saved_at = monotonic_s()

    def checkpoint(self, save: Callable[[], None]) -> None:
        """Between batches: hold while paused, JobCancelled when cancelled, Drained when the worker stops."""
        if self.interrupted.is_set():
            raise etlmon.JobCancelled("interrupted")
        if monotonic_s() - self.saved_at >= SAVE_S or self.draining.is_set() or self.job.control.wanted:
            save()  # also before it stands still: nobody knows for how long
            self.saved_at = monotonic_s()
        if not self.draining.is_set():
            self.job.checkpoint()
        if self.draining.is_set():
            raise Drained

    def resume(self, config: PipelineConfig) -> Checkpoint:
        """The checkpoint of the attempt before, or a fresh one."""
        digest = checkpoints.digest_of(config)
        found = checkpoints.load(self.work)
        if found is None or found.config != digest:
            return Checkpoint(config=digest)
        self.job.log.info("continues after %d records of an attempt before", found.records_in)
        return found

    def source_files(self, source: Source, faults: list[Fault]) -> list[Path]:
        """The files of a source; what is wrong with them is put down."""
        try:
            if source.paths == (STDIN,):
                return [self._stdin()]
            return self.places.sources(source.paths)
        except NotAllowed as fault:
            faults.append(Fault("source.path", str(fault)))
            return []

    def _stdin(self) -> Path:
        """Standard input as a file, so that it can be read again after a crash."""
        kept = self.work / "standard_input"
        if not kept.exists():
            if sys.stdin is None or sys.stdin.closed or sys.stdin.buffer.closed:
                raise NotAllowed("standard input is closed")
            part = kept.with_suffix(".part")
            with open(part, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            part.replace(kept)
        return kept

    def target(self, path: str, where: str, faults: list[Fault]) -> Path:
        """A file to be written; what is wrong with it is put down."""
        try:
            found = self.places.resolve(path)
            check_target(found)
        except NotAllowed as fault:
            faults.append(Fault(where, str(fault)))
            return Path("/nonexistent")
        return found

    def rejects_target(self, rejects: Rejects, beside: str, faults: list[Fault]) -> Path:
        """The rejects file: as given, or beside the sink or the source."""
        return self.target(rejects.path or f"{beside}{REJECTS_END}", "rejects.path", faults)


def rejects_beside(sink: Sink | None, source: Source) -> str:
    """The path that the rejects' name is made from: the sink's or source's without its ending."""
    path = sink.path if sink is not None else source.paths[0] if source.paths else STDIN
    if path == STDIN:
        return "standard_input"
    directory, slash, name = path.rpartition("/")
    for sign in "*?[]":
        name = name.replace(sign, "_")
        directory = directory.replace(sign, "_")
    return f"{directory}{slash}{name}"


def refuse(faults: list[Fault]) -> None:
    """ConfigRefused when there are any."""
    if faults:
        raise ConfigRefused(*faults)
