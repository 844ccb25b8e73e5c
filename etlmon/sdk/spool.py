"""The spool: one producer's reports on disk until the server has them. Knows nothing of HTTP, jobs or other threads.

Appends come from any thread and cost one ``pwrite``. Batches are cut, sent and settled by one courier; a batch's bounds
are on disk before it is first sent, so that whoever has to send it again sends the same reports.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

from msgspec.structs import replace

from etlmon.host.clock import monotonic_s, now_ms
from etlmon.sdk.frames import LOG, SAMPLE, STATE, pack_frame
from etlmon.sdk.guard import warn_once
from etlmon.sdk.losses import Losses, subject_of
from etlmon.sdk.mark import HISTORY, Cut, Header, Mark, new_producer
from etlmon.sdk.region import Region, choose
from etlmon.sdk.segments import START, Segment, bytes_in, segment_indexes, segment_path
from etlmon.sdk.tail import Batch, Limits, Tail

MAX_LATE: Final = 1000
"""Reports made inside an append by a signal handler: more than this at once are refused."""
RETRY_DISK_S: Final = 1.0
MEASURE_S: Final = 30.0
CHUNK_SLACK: Final = 64 * 1024


class FileSpool:
    """The spool of one producer incarnation, held open by its living owner or by an heir that adopted it."""

    def __init__(self, mark: Mark, limits: Limits) -> None:
        self.mark = mark
        self.losses = Losses()
        self.appended = 0
        self.settled = 0
        self._limits = limits
        self._directory = mark.path.parent
        self._room = {
            LOG: limits.max_bytes - limits.reserve_bytes,
            SAMPLE: limits.max_bytes - limits.reserve_bytes // 2,
            STATE: 1 << 62,  # a state that does not fit on disk is held in memory
        }
        self._lock = threading.RLock()
        self._writing = False
        self._late: deque[tuple[int, bytes]] = deque()
        self._tail = Tail(limits.memory_bytes)
        self._retry_at = 0.0
        self._indexes = segment_indexes(self._directory, mark.stem)
        self._writer: Segment | None = None
        self._reader: Segment | None = None
        self._at = (mark.cut.segment, max(mark.cut.end, START))
        self._open: Batch | None = None
        self._region: Region | None = None
        self._closed = False
        self._own = 0
        self._others = 0
        self._measured_at = monotonic_s()
        self._measure()

    # -- owners -------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, directory: Path, header: Header, producer: str, limits: Limits) -> FileSpool:
        """A fresh spool with its first segment; OSError when the directory does not allow it."""
        mark = Mark.create(directory, header, producer)
        try:
            spool = cls(mark, limits)
            spool._rotate()
        except BaseException:
            mark.remove()
            raise
        return spool

    @classmethod
    def adopt(cls, path: Path, limits: Limits) -> FileSpool | None:
        """The spool of a dead owner; None while it is held. MarkUnreadable and MarkTooNew as ``Mark.adopt``."""
        mark = Mark.adopt(path)
        if mark is None:
            return None
        spool = cls(mark, limits)
        spool._own = sum(segment_path(path.parent, mark.stem, index).stat().st_size for index in spool._indexes)
        spool._take_up()
        return spool

    @property
    def producer(self) -> str:
        """The producer that batches go out as now."""
        return self.mark.cut.producer

    # -- appending ----------------------------------------------------------------------------------------------

    def append(self, kind: int, payload: bytes) -> bool:
        """Put one report down; False when there is no room for its kind. Waits for nothing but the disk."""
        with self._lock:
            if self._writing:  # a signal handler came in between two instructions of our own write
                if len(self._late) >= MAX_LATE:
                    return False
                self._late.append((kind, payload))
                return True
            try:
                self._writing = True
                taken = self._put(kind, payload)
                while self._late:
                    self._put(*self._late.popleft())
            finally:
                self._writing = False
        return taken

    def append_lines(self, payloads: Sequence[bytes]) -> int:
        """Put many log lines down with one write, or one by one where room is short; how many were taken."""
        with self._lock:
            frames = b"".join([pack_frame(LOG, payload) for payload in payloads])
            if self._writing or self._closed or self._tail or self._own + self._others + len(frames) > self._room[LOG]:
                return sum(self.append(LOG, payload) for payload in payloads)
            try:
                self._writing = True
                taken = len(payloads) if self._write(frames) else 0
                self.appended += taken
                while self._late:
                    self._put(*self._late.popleft())
            finally:
                self._writing = False
        return taken

    def write_late(self) -> None:
        """Put down what a signal handler left behind, try a disk that was full again, look what others take of it."""
        if monotonic_s() - self._measured_at > MEASURE_S:
            self._measured_at = monotonic_s()
            self._measure()
        with self._lock:
            while self._late and not self._writing:
                self.append(*self._late.popleft())
            if len(self._tail) and not self._writing:
                self._spill()

    def _put(self, kind: int, payload: bytes) -> bool:
        if self._closed:
            return False
        frame = pack_frame(kind, payload)
        if self._own + self._others + len(frame) > self._room[kind]:
            return False
        written = (not self._tail or self._spill()) and self._write(frame)
        if not written and (kind == LOG or not self._tail.append(kind, payload)):
            return False  # log lines are not worth the memory
        self.appended += 1
        return True

    def _write(self, frame: bytes) -> bool:
        try:
            writer = self._writer
            if self._own + self._others + len(frame) > self._limits.max_bytes:
                raise OSError(errno.EDQUOT, "the spools have reached their bound")
            if writer is None or writer.size >= self._limits.segment_bytes:
                writer = self._rotate()
            writer.append(frame)
        except OSError as fault:
            self._retry_at = monotonic_s() + RETRY_DISK_S
            warn_once("spool.disk", f"etlmon: the spool takes no more ({fault}): log lines are dropped and counted")
            return False
        self._own += len(frame)
        return True

    def _spill(self) -> bool:
        """Move what memory holds to the disk, in order; False while the disk takes none of it."""
        if monotonic_s() < self._retry_at or (self._open is not None and self.mark.cut.in_memory):
            return False
        while len(self._tail):
            if not self._write(pack_frame(*self._tail.peek())):
                return False
            self._tail.drop(1)
        return True

    def _rotate(self) -> Segment:
        """Begin the next segment; the full one stays until it is delivered."""
        last = self._indexes[-1] if self._indexes else self.mark.cut.segment - 1
        fresh = Segment.create(segment_path(self._directory, self.mark.stem, last + 1), now_ms())
        if self._writer is not None:
            self._writer.close()
        self._writer = fresh
        self._indexes.append(last + 1)
        self._own += fresh.size
        return fresh

    def _measure(self) -> None:
        """What other spools of the directory hold counts against this one's room: many short jobs share one disk."""
        with contextlib.suppress(OSError):
            self._others = bytes_in(self._directory, but_not=self.mark.stem)

    # -- batches (one courier's; the lock is held only where appends could meet it) -----------------------------

    def next_batch(self, max_reports: int, max_bytes: int) -> Batch | None:
        """The batch to send now: the open one again, else a new cut set down on disk; None when all is delivered."""
        while self._open is None:
            region = self._read_on(max_reports, max_bytes)
            if region is not None:
                self._set_down(region)
            elif not self._advance() and not self._cut_tail(max_reports, max_bytes):
                return None
        return self._open

    def taken(self) -> None:
        """The open batch is acknowledged."""
        if self._open is None:
            return
        with self._lock:
            self.settled += len(self._open.payloads)
            if self.mark.cut.in_memory:
                self._tail.drop(len(self._open.payloads))
            self._open = self._region = None

    def skip(self) -> None:
        """Give the open batch up, the server will never take it; its ``seq`` goes to the next."""
        if self._open is not None:
            cut = self.mark.cut
            self.taken()
            self._write_cut(replace(cut, seq=cut.seq - 1, start=cut.end, n=0, sizes=cut.sizes[:-1], in_memory=False))

    def recut(self, n: int) -> None:
        """Send only the first ``n`` reports of the open batch under its ``seq``; it was certainly not taken."""
        cut, batch, region = self.mark.cut, self._open, self._region
        if batch is None or not 0 < n < len(batch.payloads):
            return
        sizes = (*cut.sizes[:-1], n)
        if region is None:
            self._write_cut(replace(cut, n=n, sizes=sizes))
        else:
            length = region.ends[n - 1]
            self._region = Region(region.raw[:length], region.payloads[:n], region.ends[:n])
            self._at = (cut.segment, cut.start + length)
            self._write_cut(replace(cut, end=self._at[1], n=n, crc=crc32(self._region.raw), sizes=sizes))
        self._open = replace(batch, payloads=batch.payloads[:n])

    def renew(self) -> None:
        """Go on as a new producer, with what is left of the open batch first."""
        cut, batch, region = self.mark.cut, self._open, self._region
        producer = new_producer()
        if batch is None or not batch.payloads:
            self._open = self._region = None
            self._write_cut(Cut(producer=producer, segment=self._at[0], start=self._at[1], end=self._at[1]))
            return
        n = len(batch.payloads)
        crc = crc32(region.raw) if region is not None else 0
        self._write_cut(replace(cut, producer=producer, seq=1, n=n, end=self._at[1], crc=crc, sizes=(n,)))
        self._open = Batch(producer, 1, batch.payloads)

    def lost_after(self, ack: int) -> int:
        """How many reports were acknowledged after batch ``ack`` and are not here any more (of the last batches)."""
        cut = self.mark.cut
        sizes = cut.sizes[:-1] if cut.n else cut.sizes
        missing = cut.seq - ack - (1 if cut.n else 0)
        return sum(sizes[-missing:]) if missing > 0 else 0

    # -- ends ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Remove the spool when all of it is delivered; else leave it for an heir."""
        if self._closed:
            return
        self.write_late()
        with self._lock:
            self._closed = True
            if len(self._tail):
                warn_once("spool.lost", f"etlmon: {len(self._tail)} reports were held in memory only and are lost")
            if self._open is None and self._at[1] >= self._end(self._at[0]) and not self._next_index():
                for index in self._indexes:
                    segment_path(self._directory, self.mark.stem, index).unlink(missing_ok=True)
                self.mark.remove()
            elif self._open is None:
                self._write_cut(self._settled_cut(*self._at))
            self.abandon()

    def abandon(self) -> None:
        """Let the files go as they are. After a fork these are the child's copies: the parent keeps its lock."""
        self._closed = True
        for segment in (self._writer, self._reader):
            if segment is not None:
                segment.close()
        self._writer = self._reader = None
        self.mark.close()

    # -- inside -------------------------------------------------------------------------------------------------

    def _write_cut(self, cut: Cut) -> None:
        try:
            self.mark.write_cut(cut)
        except OSError as fault:  # its blocks exist since it was made, so this is a broken disk
            warn_once("spool.mark", f"etlmon: the spool's mark cannot be written ({fault}): a crash now may send twice")

    def _settled_cut(self, index: int, offset: int) -> Cut:
        """The cut that says: all before here is acknowledged."""
        return replace(self.mark.cut, segment=index, start=offset, end=offset, n=0, in_memory=False)

    def _end(self, index: int) -> int:
        """How far segment ``index`` may be read."""
        with self._lock:
            if self._writer is not None and index == self._indexes[-1]:
                return self._writer.size
        reader = self._reading(index)
        return reader.measure() if reader is not None else 0

    def _next_index(self) -> int | None:
        with self._lock:
            return next((index for index in self._indexes if index > self._at[0]), None)

    def _reading(self, index: int) -> Segment | None:
        path = segment_path(self._directory, self.mark.stem, index)
        if self._reader is not None and self._reader.path == path:
            return self._reader
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        try:
            self._reader = Segment.open(path)
        except OSError:
            return None  # removed or unreadable: there is nothing to deliver from it
        return self._reader

    def _read_on(self, max_reports: int, max_bytes: int) -> Region | None:
        """The next records from where the last batch ended; None when this segment has no more."""
        index, offset = self._at
        end = self._end(index)
        reader = self._reading(index)
        if reader is None or offset >= end:
            return None
        horizon = now_ms() - self._limits.max_age_ms
        if reader.born_at >= horizon:
            horizon = 0  # nothing in here can be that old
        for stop in (
            min(end, offset + max_bytes + CHUNK_SLACK),
            end,
        ):  # a record larger than a batch: read all there is
            region = choose(reader.read(offset, stop), horizon, max_reports, max_bytes)
            if region.raw:
                return region
        self._at = (index, end)
        return None

    def _set_down(self, region: Region) -> None:
        """Make ``region`` the open batch: on disk first, since it may be sent from the next instruction on."""
        index, start = self._at
        end = start + len(region.raw)
        self._at = (index, end)
        for payload in region.too_old:
            subject = subject_of(payload)
            self.losses.add(subject.job_id, subject.at)
        if region.damaged:
            subject = subject_of((region.payloads or region.too_old)[0])
            self.losses.add(subject.job_id, subject.at, region.damaged)
        self.settled += len(region.too_old)
        if region.payloads:
            self._write_cut(
                replace(
                    self._next_cut(len(region.payloads)),
                    segment=index,
                    start=start,
                    end=end,
                    crc=crc32(region.raw),
                    horizon=region.horizon,
                )
            )
            self._region = region
            self._open = Batch(self.producer, self.mark.cut.seq, region.payloads)

    def _next_cut(self, n: int) -> Cut:
        cut = self.mark.cut
        return Cut(producer=cut.producer, seq=cut.seq + 1, n=n, sizes=(*cut.sizes, n)[-HISTORY:])

    def _advance(self) -> bool:
        """Go on to the next segment and remove this one, all of which is acknowledged; False when there is none."""
        following = self._next_index()
        if following is None:
            return False
        done = self._at[0]
        self._at = (following, START)
        self._write_cut(self._settled_cut(following, START))  # first, so that no mark ever names a removed segment
        with self._lock:
            self._remove_segment(done)
        return True

    def _remove_segment(self, index: int) -> None:
        path = segment_path(self._directory, self.mark.stem, index)
        with contextlib.suppress(OSError):
            self._own -= path.stat().st_size
        path.unlink(missing_ok=True)
        if index in self._indexes:
            self._indexes.remove(index)

    def _cut_tail(self, max_reports: int, max_bytes: int) -> bool:
        """With the disk part delivered: go on with what memory holds, from the disk if it takes it by now."""
        with self._lock:
            if not len(self._tail):
                if self._at == (self._indexes[-1] if self._indexes else self._at[0], self._end(self._at[0])):
                    self.settled = self.appended
                return False
            if self._spill():
                return True
            payloads = self._tail.first(max_reports, max_bytes)
            index, end = self._at
            self._write_cut(replace(self._next_cut(len(payloads)), segment=index, start=end, end=end, in_memory=True))
            self._open = Batch(self.producer, self.mark.cut.seq, payloads)
            return True

    def _take_up(self) -> None:
        """Find the place where a dead owner left off; its last batch may or may not have arrived."""
        cut = self.mark.cut
        for index in [index for index in self._indexes if index < cut.segment]:
            self._remove_segment(index)
        if cut.in_memory:
            self.renew()  # what went out under this seq died with its owner: it must not be used for anything else
            return
        if not cut.n:
            return
        reader = self._reading(cut.segment)
        raw = reader.read(cut.start, cut.end) if reader is not None else b""
        region = choose(raw, cut.horizon, cut.n, 1 << 62)
        if len(raw) != cut.end - cut.start or crc32(raw) != cut.crc:
            self._region = region
            self._open = Batch(cut.producer, cut.seq, region.payloads, missing=max(1, cut.n - len(region.payloads)))
            return
        self._region = region
        self._open = Batch(cut.producer, cut.seq, region.payloads)
