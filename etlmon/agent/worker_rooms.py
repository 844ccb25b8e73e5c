"""Where jobs work on this machine: a directory per job, kept between its attempts, removed when the job is final."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from etlmon.core.ids import is_job_id
from etlmon.sdk.mark import SUFFIX


class Room:
    """The directories of one job: ``state`` (checkpoints, staging), ``here`` (its cwd) and ``spool`` (its reports)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state"
        self.here = path / "cwd"
        self.spool = path / "spool"

    def prepare(self) -> None:
        """Make them, for this user alone."""
        for directory in (self.path, self.state, self.here, self.spool):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def has_reports(self) -> bool:
        """Whether a process of this job left reports that were not yet delivered."""
        return self.spool.is_dir() and any(entry.name.endswith(SUFFIX) for entry in self.spool.iterdir())

    def remove(self) -> None:
        """The job is over."""
        shutil.rmtree(self.path, ignore_errors=True)


class Rooms:
    """All of them, under one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of(self, work_key: str) -> Room:
        """The room of a job; what is no job id cannot lead anywhere else either."""
        name = work_key if is_job_id(work_key) else hashlib.sha256(work_key.encode()).hexdigest()[:32]
        return Room(self._directory / name)

    def kept(self) -> Iterator[tuple[str, Room]]:
        """The job id and room of each that is there."""
        if self._directory.is_dir():
            for entry in sorted(self._directory.iterdir()):
                if is_job_id(entry.name):
                    yield entry.name, Room(entry)
