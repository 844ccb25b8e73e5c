"""A file that is written beside its target and moved into place when it is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from etlmon.pipelines.checkpoint import sync_directory
from etlmon.pipelines.ends import PipelineFailed

COPY = 1024 * 1024


class StagedFile:
    """The part of one target. ``key`` is the job's own, so that two jobs never share a part."""

    def __init__(self, target: Path, key: str) -> None:
        self.target = target
        self.part = target.with_name(f".{target.name[:180]}.{key}.part")
        self._whole = target.with_name(f".{target.name[:180]}.{key}.whole")
        self._file: IO[bytes] | None = None

    def open(self, length: int) -> None:
        """Begin (``length`` 0), or go on after that many bytes: what is behind them was never counted."""
        try:
            file = open(self.part, "r+b" if length else "wb")  # noqa: SIM115
        except FileNotFoundError:
            raise PipelineFailed(
                f"{self.part.name}, which an attempt before began to write, is gone.",
                "Submit the job again: it begins anew.",
            ) from None
        self._file = file
        if os.fstat(file.fileno()).st_size < length:
            raise PipelineFailed(
                f"{self.part.name} is shorter than what was written to it.", "Submit the job again: it begins anew."
            )
        file.truncate(length)
        file.seek(length)

    @property
    def file(self) -> IO[bytes]:
        """The open part."""
        assert self._file is not None  # noqa: S101 - opened before anything is written
        return self._file

    def sync(self) -> int:
        """All that was written is on disk; how much that is."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def seal(self, *, append: bool) -> int:
        """Complete what will be moved, and answer its inode. ``append``: the target's content goes before."""
        self.sync()
        self.close()
        self._whole.unlink(missing_ok=True)
        if append and self.target.exists():
            self._join()
        return self.part.stat().st_ino

    def _join(self) -> None:
        with open(self._whole, "wb") as whole:
            with open(self.target, "rb") as before:
                shutil.copyfileobj(before, whole, COPY)
                if before.tell() and not _ends_a_line(self.target):
                    whole.write(b"\n")
            with open(self.part, "rb") as part:
                shutil.copyfileobj(part, whole, COPY)
            whole.flush()
            os.fsync(whole.fileno())

    def place(self, *, append: bool) -> None:
        """Move into place; done before a crash, it is not done again: then there is no part any more."""
        ready = self._whole if append and self._whole.exists() else self.part
        if ready is self._whole:
            self.part.unlink(missing_ok=True)  # first: alone it would later be taken for all that there is
        if ready.exists():
            if self.target.exists():
                shutil.copymode(self.target, ready)
            os.replace(ready, self.target)
        sync_directory(self.target.parent)

    def close(self) -> None:
        """Let go of the part."""
        if self._file is not None and not self._file.closed:
            self._file.close()

    def discard(self) -> None:
        """Remove what was staged; the target is as it was."""
        try:
            self.close()
        except OSError:  # what is still in its buffer does not fit on the disk either, and is not wanted
            self._file = None
        self.part.unlink(missing_ok=True)
        self._whole.unlink(missing_ok=True)


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
