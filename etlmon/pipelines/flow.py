"""Records from a source through a transformation into a sink and a rejects file, checkpointed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from etlmon.core.errors import Fault
from etlmon.core.pipeline_shapes import CsvProcessing, FieldMapping
from etlmon.pipelines import checkpoint as checkpoints
from etlmon.pipelines.batch import Batch, Reject, Table
from etlmon.pipelines.ends import PipelineFailed, TooManyRejects
from etlmon.pipelines.rejects import RejectsFile
from etlmon.pipelines.run import Run, refuse, rejects_beside
from etlmon.pipelines.sink import OpenSink, open_sink
from etlmon.pipelines.sources import Sources


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch. ``dropped`` are put with the rejects, and not counted as such."""

    table: Table
    refused: Sequence[Reject] = ()
    dropped: Sequence[Reject] = ()


class Flow:
    """One job's way from source to sink. Made, opened, pumped, finished, in this order."""

    def __init__(self, run: Run, config: CsvProcessing | FieldMapping, *, extra: str) -> None:
        self._run = run
        self._config = config
        faults: list[Fault] = []
        self.target = run.target(config.sink.path, "sink.path", faults)
        beside = rejects_beside(config.sink, config.source)
        self.rejects_target = run.rejects_target(config.rejects, beside, faults)
        self.done = run.resume(config)
        files = [] if self.done.moving else run.source_files(config.source, faults)
        faults += _same_file(files, self.target, self.rejects_target)
        if self.done.sources:  # what is gone since then is told as that
            faults = [fault for fault in faults if fault.path != "source.path"]
            files = [Path(each.path) for each in self.done.sources]
        refuse(faults)
        self._files, self._extra = files, extra
        self.sink: OpenSink = open_sink(config.sink, self.target, run.key)
        self.rejects = RejectsFile(config.rejects, self.rejects_target, run.key)
        self.on_save: Callable[[], None] = lambda: None
        """What else has to be on disk before a checkpoint is."""

    @cached_property
    def sources(self) -> Sources:
        """The files, opened for the first time; PipelineFailed when they are not what an attempt before read."""
        Sources.check_unchanged(self.done.sources)
        return Sources(self._config.source, self._files, self._config.batch_rows, extra=self._extra)

    @property
    def is_written(self) -> bool:
        """Whether an attempt before wrote everything, and only the move may be missing."""
        return self.done.moving

    def open(self, names: Sequence[str], kinds: Sequence[str | None]) -> None:
        """Begin to write, or go on where the checkpoint says."""
        self.done.sources = self.sources.identities
        self.done.header = tuple(names)
        self.sink.open(names, kinds, self.done.sink)
        self.rejects.open(self.done.rejects, self.done.rejected)

    def pump(self, transform: Callable[[Batch], Outcome]) -> None:
        """Everything that is left to read."""
        done = self.done
        self.save()
        for at, batch in self.sources.batches(done.at_source, done.position):
            outcome = transform(batch)
            self.sink.write(outcome.table)
            if outcome.dropped:
                self._write_dropped(outcome)
            elif outcome.refused:
                self.rejects.add(outcome.refused)
            done.records_in += batch.n_read
            done.records_out += outcome.table.n
            done.rejected = self.rejects.n
            done.at_source, done.position = at, batch.position
            self.rejects.check_rate(done.records_in)
            self._tell()
            self._run.checkpoint(self.save)
        Sources.check_unchanged(done.sources)
        self.rejects.check_rate(done.records_in, at_end=True)
        self._tell(at_end=True)

    def _write_dropped(self, outcome: Outcome) -> None:
        """Both kinds in the records' order."""
        dropped = {id(each) for each in outcome.dropped}
        for each in sorted((*outcome.refused, *outcome.dropped), key=lambda reject: reject.line):
            self.rejects.add([each], counted=id(each) not in dropped)
        self.done.dropped += len(dropped)

    def _tell(self, *, at_end: bool = False) -> None:
        done, read, whole = self.done, self.sources.bytes_read, self.sources.bytes_total
        if self.sources.records_total is not None:
            percent = 100.0 * done.records_in / max(1, self.sources.records_total)
            read = int(whole * percent / 100)
        else:
            percent = 100.0 * read / whole if whole else 100.0
        job = self._run.job
        total = done.records_in if at_end else self.sources.records_total
        job.progress(current=done.records_in, total=total, percent=100.0 if at_end else min(percent, 99.9))
        job.metrics(
            records_successful=done.records_out,
            records_failed=done.rejected,
            error_rate=done.rejected / max(1, done.records_in),
            bytes_processed=whole if at_end else read,
        )

    def save(self) -> None:
        """Bring all to the disk, then the checkpoint that says so."""
        Sources.check_unchanged(self.done.sources)
        self.done.sink = self.sink.sync()
        self.done.rejects = self.rejects.staged.sync()
        self.on_save()
        checkpoints.save(self._run.work, self.done)

    def finish(self) -> None:
        """Put output and rejects in place. From the checkpoint in the middle on, each step may be done twice."""
        if not self.done.moving:
            self.save()
            self.sink.seal()
            self.rejects.staged.seal(append=False)
            self.done.moving = True
            checkpoints.save(self._run.work, self.done)
        self.rejects.place()
        self.sink.place()

    def give_up(self, failure: Exception | None) -> None:
        """Remove what was staged and forget where the job stood; too many rejects are put in place, to be looked at."""
        if isinstance(failure, TooManyRejects):
            self.rejects.staged.seal(append=False)
            self.rejects.place()
        checkpoints.clear(self._run.work)
        for part in (self.sink, self.rejects):
            try:
                part.discard()
            except Exception as fault:  # noqa: BLE001 - the job's own failure is what must be told
                self._run.job.log.warning("what was staged could not be removed: %s", fault)

    def summary(self) -> dict[str, Any]:
        """What the job leaves behind."""
        done = self.done
        entries: dict[str, Any] = {
            "recordsIn": done.records_in,
            "recordsOut": done.records_out,
            "recordsRejected": done.rejected,
            "bytes": sum(each.size for each in done.sources),
            "outputs": [str(self.target)],
            "rejects": str(self.rejects_target),
        }
        return entries | ({"recordsDropped": done.dropped} if done.dropped else {})


def _same_file(files: Sequence[Path], target: Path, rejects: Path) -> list[Fault]:
    faults = []
    if target in files:
        faults.append(Fault("sink.path", "is one of the sources: write to another file"))
    if rejects in files:
        faults.append(Fault("rejects.path", "is one of the sources: write to another file"))
    if rejects == target:
        faults.append(Fault("rejects.path", "is the sink's own path"))
    return faults


def no_records(what: str) -> PipelineFailed:
    """The source has no header at all."""
    return PipelineFailed(f"{what} is empty: there is not even a header.", "Check the program that writes it.")
