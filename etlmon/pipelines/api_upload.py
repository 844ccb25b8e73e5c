"""api_upload: send records to an HTTP endpoint, each batch confirmed once."""

from __future__ import annotations

import contextlib
import os
import queue
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from etlmon.core.errors import Fault
from etlmon.core.pipeline_shapes import STEPS, ApiUpload
from etlmon.pipelines import checkpoint as checkpoints
from etlmon.pipelines.batch import Batch, Reject
from etlmon.pipelines.ends import Drained, PipelineFailed, TooManyRejects
from etlmon.pipelines.places import NotAllowed, check_host, must_be_file
from etlmon.pipelines.rejects import RejectsFile
from etlmon.pipelines.run import Run, refuse, rejects_beside
from etlmon.pipelines.sources import Sources
from etlmon.pipelines.upload_journal import Confirmed, UploadJournal
from etlmon.pipelines.uploading import Parcel, Uploader, encode_body

PREPARING, UPLOADING, RESPONSES, ERRORS, COMPLETING = STEPS["api_upload"]
MAX_BODY = 512 * 1024
"""A batch is sent when its records are larger than this, however few they are."""
MAX_OPEN = 4 * 1024 * 1024
"""Bytes of records that are on their way at once."""
MAX_SECRET = 64 * 1024
POLL_S = 0.1


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A record as JSON, or one that was refused already (``reject``), and where the source stands after it."""

    raw: bytes = b""
    source: str = ""
    line: int = 0
    reject: Reject | None = None
    at_source: int
    position: dict[str, int]

    def refused(self, why: str) -> Reject:
        """The record, refused."""
        record = msgspec.json.decode(self.raw)
        return Reject(source=self.source, line=self.line, column=None, reason=why, record=record)


class Load(msgspec.Struct, kw_only=True):
    """One batch on its way: its items in order, and its end when that is known."""

    n: int
    items: list[Item]
    size: int
    end: Confirmed | None = None


class UploadPipeline:
    """Reads, sends in parallel, and counts in the records' order."""

    def __init__(self, run: Run, config: ApiUpload) -> None:
        run.job.step(PREPARING)
        self._run = run
        self._config = config
        faults: list[Fault] = []
        try:
            check_host(config.url, run.spec.allowed_hosts)
        except NotAllowed as fault:
            faults.append(Fault("url", str(fault)))
        self._headers = headers_of(run, config, faults)
        self._done = run.resume(config)
        files = [] if self._done.sources else run.source_files(config.source, faults)
        self._target = run.rejects_target(config.rejects, rejects_beside(None, config.source), faults)
        if self._target in files:
            faults.append(Fault("rejects.path", "is one of the sources: write to another file"))
        refuse(faults)
        self._files = files
        self._rejects = RejectsFile(config.rejects, self._target, run.key)
        self._uploader: Uploader | None = None
        self._journal: UploadJournal | None = None
        self._loads: list[Load] = []

    # -- the whole ----------------------------------------------------------------------------------------------

    def process(self) -> None:
        """Do it all."""
        job = self._run.job
        if not self._done.moving:
            sources = self._prepare()
            job.step(UPLOADING)
            try:
                self._upload(sources)
            except BaseException as fault:
                self._stop(at_once=not isinstance(fault, Drained))
                if isinstance(fault, Drained):
                    with contextlib.suppress(PipelineFailed):  # the next attempt will meet it again
                        self._settle()
                    self._save()
                raise
            self._stop(at_once=False)
            job.step(RESPONSES)
            Sources.check_unchanged(self._done.sources)
            self._tell(sources, at_end=True)
            job.step(ERRORS)
            self._rejects.check_rate(self._done.records_in, at_end=True)
        job.step(COMPLETING)
        self._finish()

    def _prepare(self) -> Sources:
        done = self._done
        Sources.check_unchanged(done.sources)
        files = self._files or [self._run.places.resolve(each.path) for each in done.sources]
        sources = Sources(self._config.source, files, self._config.batch_rows)
        sources.read_headers()
        done.sources = sources.identities
        done.key = done.key or uuid.uuid4().hex
        self._rejects.open(done.rejects, done.rejected)
        self._save()  # the keys of the batches are on disk before the first one is sent
        self._journal = UploadJournal(self._run.work, done.sink.get("batches", 0))
        self._uploader = Uploader(self._config, self._headers, self._journal)
        return sources

    def _upload(self, sources: Sources) -> None:
        uploader, journal = self._uploader, self._journal
        assert uploader is not None  # noqa: S101 - made by _prepare
        assert journal is not None  # noqa: S101
        for load in self._loads_of(sources):
            self._loads.append(load)
            known = journal.known.get(load.n)
            records = [item.raw for item in load.items if item.reject is None]
            if known is not None:
                load.end = known
            elif records:
                key = str(uuid.uuid5(uuid.UUID(self._done.key), str(load.n)))
                body = encode_body(self._config, [msgspec.Raw(raw) for raw in records])
                uploader.put(Parcel(n=load.n, key=key, size=len(records), body=body))
            else:
                load.end = Confirmed(n=load.n)
            while self._is_full(uploader.window):
                self._wait(uploader, sources)
            self._advance(sources)
        while self._loads:
            self._wait(uploader, sources)

    def _is_full(self, window: int) -> bool:
        return len(self._loads) >= window or sum(load.size for load in self._loads) > MAX_OPEN

    def _wait(self, uploader: Uploader, sources: Sources) -> None:
        """For an end, no longer than an operator would like to wait for a pause or a cancel."""
        if self._loads and self._loads[0].end is None:
            try:
                self._take(uploader.ends.get(timeout=POLL_S))
            except queue.Empty:
                uploader.watch()
        self._advance(sources)

    def _take(self, end: Confirmed | PipelineFailed) -> None:
        if isinstance(end, PipelineFailed):
            raise end
        for load in self._loads:
            if load.n == end.n:
                load.end = end

    def _advance(self, sources: Sources) -> None:
        self._settle()
        self._tell(sources)
        self._run.checkpoint(self._save)

    def _settle(self) -> None:
        """Count what is confirmed, in order."""
        uploader = self._uploader
        while uploader is not None and not uploader.ends.empty():
            self._take(uploader.ends.get())
        while self._loads and self._loads[0].end is not None:
            load = self._loads.pop(0)
            self._count(load, load.end or Confirmed(n=load.n))

    def _count(self, load: Load, end: Confirmed) -> None:
        done, refused, at = self._done, list[Reject](), 0
        for item in load.items:
            if item.reject is not None:
                refused.append(item.reject)
                continue
            if at in end.faults:
                refused.append(item.refused(end.faults[at]))
            at += 1
        self._rejects.add(refused)
        done.records_in += len(load.items)
        done.records_out += len(load.items) - len(refused)
        done.rejected = self._rejects.n
        done.at_source, done.position = load.items[-1].at_source, load.items[-1].position
        done.sink["batches"] = load.n + 1
        self._rejects.check_rate(done.records_in)

    # -- reading ------------------------------------------------------------------------------------------------

    def _loads_of(self, sources: Sources) -> Iterator[Load]:
        """Batches of the records from the checkpoint on; the same ones on each attempt."""
        n, size = self._done.sink.get("batches", 0), 0
        items: list[Item] = []
        for item in self._items(sources):
            items.append(item)
            size += len(item.raw) if item.reject is None else 1000
            if len(items) >= self._config.batch_records or size >= MAX_BODY:
                yield Load(n=n, items=items, size=size)
                n, size, items = n + 1, 0, []
        if items:
            yield Load(n=n, items=items, size=size)

    def _items(self, sources: Sources) -> Iterator[Item]:
        """The records in order. A position within a batch of the source is its beginning and how many to leave out."""
        done = self._done
        before = {key: value for key, value in done.position.items() if key != "items"}
        skip, last = done.position.get("items", 0), done.at_source
        for at, batch in sources.batches(done.at_source, before):
            if at != last:
                before, last = {}, at
            for place, item in enumerate(self._of(batch, at, before), 1):
                if skip:
                    skip -= 1
                    continue
                yield msgspec.structs.replace(item, position={**before, "items": place})
            before = batch.position

    def _of(self, batch: Batch, at: int, before: dict[str, int]) -> Iterator[Item]:
        refused = sorted(batch.refused, key=lambda reject: reject.line)
        upcoming = 0
        for place in range(batch.n):
            line = batch.line_of(place)
            while upcoming < len(refused) and refused[upcoming].line < line:
                yield Item(reject=refused[upcoming], at_source=at, position=before)
                upcoming += 1
            raw = msgspec.json.encode(batch.record(place))
            yield Item(raw=raw, source=batch.source, line=line, at_source=at, position=before)
        for reject in refused[upcoming:]:
            yield Item(reject=reject, at_source=at, position=before)

    # -- ends ---------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        Sources.check_unchanged(self._done.sources)
        self._done.rejects = self._rejects.staged.sync()
        checkpoints.save(self._run.work, self._done)
        if self._journal is not None:
            self._journal.forget(self._done.sink.get("batches", 0))

    def _tell(self, sources: Sources, *, at_end: bool = False) -> None:
        done, job = self._done, self._run.job
        whole, total = sources.bytes_total, sources.records_total
        read = min(sources.bytes_read, whole)
        percent = 100.0 * done.records_in / max(1, total) if total is not None else 100.0 * read / max(1, whole)
        if at_end:
            total, percent, read = done.records_in, 100.0, whole
        job.progress(current=done.records_in, total=total, percent=percent if at_end else min(percent, 99.9))
        job.metrics(
            records_successful=done.records_out,
            records_failed=done.rejected,
            error_rate=done.rejected / max(1, done.records_in),
            bytes_processed=read,
            uploadRetries=self._uploader.retries if self._uploader is not None else 0,
        )

    def _stop(self, *, at_once: bool) -> None:
        if self._uploader is not None:
            self._uploader.stop(at_once=at_once)

    def _finish(self) -> None:
        done = self._done
        if not done.moving:
            self._save()
            self._rejects.staged.seal(append=False)
            done.moving = True
            checkpoints.save(self._run.work, done)
        self._rejects.place()
        self._close()

    def _close(self) -> None:
        self._rejects.staged.close()
        if self._journal is not None:
            self._journal.close()

    def give_up(self, failure: Exception | None) -> None:
        """What was confirmed stays known, so that a retry goes on after it; a cancelled job is over."""
        if failure is None:
            self._rejects.discard()
            checkpoints.clear(self._run.work)
        elif isinstance(failure, TooManyRejects):
            self._rejects.staged.seal(append=False)
            self._rejects.place()
            checkpoints.clear(self._run.work)
        self._close()

    def summary(self) -> dict[str, Any]:
        """What it did."""
        done = self._done
        return {
            "recordsIn": done.records_in,
            "recordsOut": done.records_out,
            "recordsRejected": done.rejected,
            "batches": done.sink.get("batches", 0),
            "bytes": sum(each.size for each in done.sources),
            "outputs": [self._config.url],
            "rejects": str(self._target),
        }


def headers_of(run: Run, config: ApiUpload, faults: list[Fault]) -> dict[str, str]:
    """The headers with their secrets read; faults name the header and where it was looked for, never a value."""
    kind = "application/x-ndjson" if config.body == "jsonl" else "application/json"
    found = {"Content-Type": kind, "Accept": "application/json", "User-Agent": "etlmon"}
    for name, reference in config.headers.items():
        try:
            value = reference.text
            if reference.env:
                value = os.environ.get(reference.env, "")
                if not value:
                    raise NotAllowed(f"the environment variable {reference.env} is not set on the worker")
            elif reference.file:
                path = run.places.resolve(reference.file)
                must_be_file(path)
                value = path.read_bytes()[:MAX_SECRET].decode("ascii", "replace").strip()
            if not value.isprintable() or not value.isascii():
                raise NotAllowed("holds what a header cannot carry")
            found = {key: each for key, each in found.items() if key.lower() != name.lower()} | {name: value}
        except (NotAllowed, OSError) as fault:
            faults.append(Fault(f"headers.{name}", str(fault)))
    return found
