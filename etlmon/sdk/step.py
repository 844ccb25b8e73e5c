"""What ``job.step`` returns: a step that was begun, to be finished at the end of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlmon.sdk.job import Job


class Step:
    """A step of a job. Beginning the next one, or ending the job, finishes it as well."""

    def __init__(self, owner: Job, name: str) -> None:
        self._owner = owner
        self.name = name

    def finish(self) -> None:
        """The step is done."""
        self._owner.finish_step(self.name)

    def __enter__(self) -> Step:
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        if error is None:  # a step that failed stays open, so that the failure names it
            self.finish()
