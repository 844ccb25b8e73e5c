"""How a pipeline ends other than by being done: what is raised, and who it is for."""

from __future__ import annotations

from etlmon.core.errors import Fault


class PipelineFailed(Exception):
    """The job fails: ``message`` says why in one sentence, ``actions`` what to do about it."""

    def __init__(self, message: str, *actions: str, kind: str = "error", error_type: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.actions = actions
        self.kind = kind
        self.error_type = error_type


class TooManyRejects(PipelineFailed):
    """More records were refused than the config allows; the rejects are put in place all the same."""


class ConfigRefused(PipelineFailed):
    """What was asked for cannot be done as it is written; nothing was touched."""

    def __init__(self, *faults: Fault) -> None:
        told = "; ".join(f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in faults[:10])
        more = f" (and {len(faults) - 10} more)" if len(faults) > 10 else ""
        super().__init__(
            f"The config is refused: {told}{more}.", "Correct the config and submit it again.", kind="rejected"
        )
        self.faults = faults


class Drained(BaseException):
    """The worker is being stopped: the job stands at a checkpoint and may go on later. No ``Exception``, as cancels."""
