"""Disk space set aside, so that control and state still commit when the disk is full (design.md, law 8)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MARGIN_BYTES = 4 << 20
"""Free space that must be there beyond the ballast before it is made: else making it would fill the disk itself."""
_CHUNK = 1 << 20


class Ballast:
    """A file of ``size`` real bytes (0: none is kept)."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    @property
    def held(self) -> bool:
        """Whether there is space set aside that can be given back."""
        try:
            status = self._path.stat()
        except OSError:
            return False
        return 0 < self._size <= min(status.st_size, status.st_blocks * 512)

    def make(self) -> bool:
        """Set the space aside; False (and nothing left behind) when there is not enough."""
        if self.held:
            return True
        with contextlib.suppress(OSError):
            space = os.statvfs(self._path.parent)
            if space.f_bavail * space.f_frsize < self._size + MARGIN_BYTES:
                return False
        if self._size == 0:
            return True
        try:
            self._fill()
        except OSError as fault:
            self.release()
            if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
                log.warning("The ballast file cannot be made.", extra={"action": "ballast", "why": str(fault)})
            return False
        return True

    def _fill(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with contextlib.suppress(AttributeError, OSError):
                os.posix_fallocate(descriptor, 0, self._size)
            if os.fstat(descriptor).st_blocks * 512 < self._size:
                # No such call here, or a file system that keeps zeros as a hole: random bytes cannot be made small.
                for start in range(0, self._size, _CHUNK):
                    os.pwrite(descriptor, os.urandom(min(_CHUNK, self._size - start)), start)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the space back."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
