"""The files that hold a spool's records: written at a known offset, read from anywhere, removed when delivered."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

SUFFIX: Final = ".seg"
MAGIC: Final = b"ETLSEG\x01\n"
START: Final = len(MAGIC) + 8
"""Where the first record of a segment begins, after the magic and the instant of its birth."""


class Segment:
    """One open segment. ``size`` is where the next record goes: what a failed write left behind it is written over."""

    def __init__(self, path: Path, fd: int, size: int, born_at: int) -> None:
        self.path = path
        self.size = size
        self.born_at = born_at
        self._fd = fd

    @classmethod
    def create(cls, path: Path, now: int) -> Segment:
        """A new segment for records from ``now`` (ms) on; OSError when the disk does not allow it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        segment = cls(path, fd, 0, now)
        try:
            segment.append(MAGIC + now.to_bytes(8, "little"))
        except BaseException:
            segment.remove()
            raise
        return segment

    @classmethod
    def open(cls, path: Path) -> Segment:
        """A segment to read and remove. A torn head counts as born at 0: as old as can be."""
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        head = os.pread(fd, START, 0)
        born_at = int.from_bytes(head[len(MAGIC) :], "little") if head.startswith(MAGIC) and len(head) == START else 0
        return cls(path, fd, os.fstat(fd).st_size, born_at)

    def measure(self) -> int:
        """How large the file is now."""
        return os.fstat(self._fd).st_size

    def append(self, frame: bytes) -> None:
        """Write one record whole, or raise OSError and leave none of it."""
        written = os.pwrite(self._fd, frame, self.size)
        if written < len(frame):
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise OSError(errno.ENOSPC, "the disk took part of a record")
        self.size += written

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, fewer when the file is shorter."""
        return os.pread(self._fd, max(0, end - start), start)

    def remove(self) -> None:
        """Take the file away."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def segment_path(directory: Path, stem: str, index: int) -> Path:
    """Where segment ``index`` of the spool ``stem`` lies."""
    return directory / f"{stem}.{index:08d}{SUFFIX}"


def segment_indexes(directory: Path, stem: str) -> list[int]:
    """Which segments of the spool ``stem`` exist, in order."""
    words = (
        entry.name[len(stem) + 1 : -len(SUFFIX)]
        for entry in os.scandir(directory)
        if entry.name.startswith(f"{stem}.") and entry.name.endswith(SUFFIX)
    )
    return sorted(int(word) for word in words if word.isdigit())


def bytes_in(directory: Path, *, but_not: str = "") -> int:
    """How many bytes the spools in ``directory`` hold, except for the spool ``but_not``."""
    total = 0
    for entry in os.scandir(directory):
        if entry.name.endswith(SUFFIX) and not (but_not and entry.name.startswith(but_not)):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total
