"""What a run was asked to be and how it ended; who tells the server. Light: it is read before the command starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from etlmon.core.reports import CommandItem, Report


class Reports(Protocol):
    """What the wrapper needs of a reporter (``etlmon.sdk.reporter.Reporter``)."""

    def report(self, report: Report, /) -> None:
        """Take one report; never raises or blocks."""

    def log_lines(
        self, job_id: str, lines: Sequence[str], levels: Sequence[str] | None, /, *, at: int, logger: str | None
    ) -> None:
        """Take lines of the job, all of the instant ``at`` (ms); without ``levels`` all are ``info``."""

    @property
    def pending(self) -> int:
        """How many reports are not yet acknowledged."""

    @property
    def reached(self) -> bool:
        """Whether the server gave the last answer."""

    def flush(self, timeout_s: float, /) -> bool:
        """Whether all that was reported is acknowledged, waiting so long for it."""

    def close(self, timeout_s: float, /) -> bool:
        """The same, and let go of the spool."""


class Way(Protocol):
    """The way to the server, opened only once the command runs."""

    def open(self, take_command: Callable[[CommandItem], None], /) -> Reports:
        """A reporter that hands the server's commands to ``take_command`` (in a thread of its own)."""

    def leave_flusher(self) -> None:
        """Leave a process behind that goes on sending what could not be sent in time."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What ``etlmon run`` was asked for. Durations in milliseconds."""

    argv: tuple[str, ...]
    name: str | None = None
    type: str = "command"
    owner: str | None = None
    tags: dict[str, str] = {}
    expect_ms: int | None = None
    timeout_ms: int | None = None
    grace_ms: int = 10_000
    unbuffered: bool = False
    capture: bool = True


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the command ended: with an exit code, or of a signal."""

    code: int | None = None
    signum: int | None = None

    @classmethod
    def of(cls, status: int) -> Ending:
        """From a wait status."""
        if os.WIFSIGNALED(status):
            return cls(signum=os.WTERMSIG(status))
        return cls(code=os.WEXITSTATUS(status))
