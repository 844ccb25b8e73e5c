"""How full the write-ahead log is. Its file keeps its length when it is reused, so the frames have to be found."""

from __future__ import annotations

import os
from pathlib import Path

HEADER = 32
FRAME_HEADER = 24


class WalGauge:
    """Reads the log's own headers (sqlite.org/fileformat2.html §4.2). SQLite keeps no lock on this file, so reading
    it through another descriptor harms nothing."""

    def __init__(self, main: Path, page_bytes: int) -> None:
        self._path = main.with_name(main.name + "-wal")
        self._frame = FRAME_HEADER + page_bytes
        self._descriptor: int | None = None

    def file_bytes(self) -> int:
        """The length of the file: an upper bound, and cheap."""
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def used_bytes(self) -> int:
        """The length of what was written since the log last began anew: frames carry the salt of its header."""
        size = self.file_bytes()
        if size <= HEADER:
            return 0
        descriptor = self._open()
        salt = os.pread(descriptor, 8, 16)
        first, beyond = 0, (size - HEADER) // self._frame
        while first < beyond:
            middle = (first + beyond) // 2
            if os.pread(descriptor, 8, HEADER + middle * self._frame + 8) == salt:
                first = middle + 1
            else:
                beyond = middle
        return HEADER + first * self._frame

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
