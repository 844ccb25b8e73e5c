"""The copy: the child's bytes go out untouched and at once; a second sight of them goes to a bounded tap.

Nothing here looks at what the bytes mean, and nothing here waits for whoever does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from etlmon.agent.stdio import Channel

CHUNK = 65_536
TAP_BYTES = 16 * 1024 * 1024
_TAP_CHUNKS = 262_144  # so that single bytes, which cost a hundred each, cannot fill the memory either
_SMALL = 8192
_BUSY_S = 0.006
_NAP_S = 0.004
"""Under a stream of small writes a read waits this long for more: 80 lines at a time cost a tenth of 80 reads."""


class Piece(NamedTuple):
    """Bytes that passed: of which channel (its place), and when (instant, ms)."""

    channel: int
    at: int
    data: bytes


class Dropped(NamedTuple):
    """Lines that found the tap full, between two instants."""

    lines: int
    first_at: int
    last_at: int


class Tap:
    """What has passed and is not yet read by anybody: at most ``TAP_BYTES``; beyond that it is dropped and counted."""

    def __init__(self, now: Callable[[], int], limit: int = TAP_BYTES) -> None:
        self._now = now
        self._limit = limit
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._dropped: Dropped | None = None
        self._lock = threading.Lock()
        self._filled = threading.Event()

    def put(self, channel: int, data: bytes) -> None:
        """Never waits."""
        at = self._now()
        with self._lock:
            if self._held + len(data) > self._limit or len(self._pieces) >= _TAP_CHUNKS:
                old = self._dropped or Dropped(0, at, at)
                self._dropped = Dropped(old.lines + max(1, data.count(b"\n")), old.first_at, at)
                return
            self._pieces.append(Piece(channel, at, data))
            self._held += len(data)
        if not self._filled.is_set():
            self._filled.set()

    def take(self, timeout_s: float | None) -> tuple[list[Piece], Dropped | None]:
        """Everything that is there, oldest first, and what was dropped after it; waits for the first piece."""
        self._filled.wait(timeout_s)
        with self._lock:
            self._filled.clear()
            pieces, dropped = list(self._pieces), self._dropped
            self._pieces.clear()
            self._held, self._dropped = 0, None
        return pieces, dropped

    def wake(self) -> None:
        """Let a waiting ``take`` return with what there is."""
        self._filled.set()


class Copy(threading.Thread):
    """Copies one channel until its writers are gone, or until its reader is: then the child's end breaks too.

    A slow reader slows the child down, as its own pipe would: at most one chunk is held here.
    """

    def __init__(self, place: int, channel: Channel, tap: Tap, on_end: Callable[[], None]) -> None:
        super().__init__(name=f"copy-{channel.logger or 'output'}", daemon=True)
        self.channel = channel
        self.copied = 0
        self.fault: OSError | None = None
        self.ended = threading.Event()
        self._place = place
        self._tap = tap
        self._on_end = on_end
        self._gate = threading.Lock()  # held while a chunk is in our hands
        self._stopped = False

    def run(self) -> None:
        """Until the end of the channel."""
        try:
            self._copy_all()
        except OSError as error:
            self.fault = None if error.errno == errno.EPIPE else error
        finally:
            if not self._stopped:
                os.close(self.channel.source)
            self.ended.set()
            self._on_end()

    def _copy_all(self) -> None:
        source = self.channel.source
        ready = select.poll()
        ready.register(source, select.POLLIN)
        last = 0.0
        while True:
            with self._gate:
                if self._stopped:
                    return
                data = read_some(source)
                if data:
                    write_all(self.channel.sink, data)
                    self.copied += len(data)
            if data is None:
                ready.poll()
                continue
            if not data:
                return
            self._tap.put(self._place, data)
            now = time.monotonic()
            if len(data) < _SMALL and now - last < _BUSY_S:
                time.sleep(_NAP_S)
            last = now

    def idle(self) -> bool:
        """Whether all that was written so far has been copied."""
        if self.ended.is_set():
            return True
        if not self._gate.acquire(blocking=False):
            return False
        try:
            return not _readable(self.channel.source)
        finally:
            self._gate.release()

    def stop(self) -> bool:
        """Copy no further; the rest is left in the channel, whose source stays open. False while a chunk is stuck."""
        if self.ended.is_set() or not self._gate.acquire(timeout=0.1):
            return False
        self._stopped = True
        self._gate.release()
        return True


def read_some(fd: int) -> bytes | None:
    """What is there now: None when nothing is, empty at the end (a pty without users answers EIO)."""
    try:
        return os.read(fd, CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def write_all(fd: int, data: bytes) -> None:
    """Every byte, however long the reader takes; also where somebody made the descriptor non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select((), (fd,), ())


def _readable(fd: int) -> bool:
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    return any(event & select.POLLIN for _, event in ready.poll(0))


class Keyboard(threading.Thread):
    """Copies what is typed at the outer terminal into the inner one, while we are in the foreground."""

    def __init__(self, source: int, master: int) -> None:
        super().__init__(name="copy-keyboard", daemon=True)
        self._source = source
        self._master = master
        self.foreground = threading.Event()  # a read from the background would stop us

    def run(self) -> None:
        """Until either terminal is gone."""
        with contextlib.suppress(OSError):
            while True:
                self.foreground.wait()
                select.select((self._source,), (), ())
                if not self.foreground.is_set():
                    continue
                data = os.read(self._source, 4096)
                if not data:
                    return
                write_all(self._master, data)
