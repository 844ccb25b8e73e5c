"""What the wrapper tells of its job: each moment of the run as the report that says it. Pure but for the words."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from etlmon.agent.asked import Ending, Options
from etlmon.agent.signals import signal_name
from etlmon.core import reports as r
from etlmon.core.durations import format_duration
from etlmon.core.job import Failure, FailureKind
from etlmon.core.text import clean_line, clean_name

TAIL_LINES = 20
_MAX_WORDS = 1000
_MAX_WORD_BYTES = 2000
_INTERPRETER = re.compile(r"(?:python|pypy|ruby|perl|node|nodejs|bash|dash|sh|ksh|zsh|php|Rscript|lua)[\d.]*")
_SCRIPT_SUFFIX = re.compile(r"\.(?:py|pyw|sh|bash|zsh|rb|pl|js|mjs|php|R|r|lua)$")
_RAISED = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Failure|Timeout)): ?(?P<text>.*)"
)


def job_name(argv: tuple[str, ...]) -> str:
    """The recurring name of a command: its program, or the script or module that an interpreter is given."""
    program = PurePosixPath(argv[0]).name
    if _INTERPRETER.fullmatch(program):
        for place, word in enumerate(argv[1:], 1):
            if word == "-m" and place + 1 < len(argv):
                return clean_name(argv[place + 1]) or program
            if word in ("-c", "-e", "-s", "-"):
                break
            if not word.startswith("-"):
                if _SCRIPT_SUFFIX.search(word) or "/" in word:
                    program = PurePosixPath(word).name
                break
    return clean_name(_SCRIPT_SUFFIX.sub("", program)) or "command"


def instant(ms: int) -> datetime:
    """An instant as reports carry it."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def started(job_id: str, options: Options, *, at: int, host: str, parent_id: str | None) -> r.JobStarted:
    """The job began."""
    words = tuple(clean_line(word, _MAX_WORD_BYTES) for word in options.argv[:_MAX_WORDS])
    return r.JobStarted(
        job_id=job_id,
        at=instant(at),
        name=clean_name(options.name) if options.name else job_name(options.argv),
        type=clean_name(options.type) or "command",
        owner=options.owner,
        tags=dict(options.tags) or None,
        host=host,
        source="run",
        expected_duration_ms=options.expect_ms,
        timeout_ms=options.timeout_ms,
        parent_id=parent_id,
        command=words,
    )


def failure_of(ending: Ending, tail: tuple[str, ...]) -> Failure:
    """Why the command failed, in its own last words where it has any."""
    if ending.signum is not None:
        name = signal_name(ending.signum)
        why = ": the reader of its output left" if ending.signum == signal.SIGPIPE else ""
        return Failure(kind=FailureKind.KILLED, message=f"killed by {name}{why}", signal=name, stderr_tail=tail)
    if ending.code == 128 + signal.SIGPIPE:  # a shell's word for it; what was printed last explains nothing
        message = f"exit code {ending.code}: the reader of its output left (SIGPIPE)"
        return Failure(kind=FailureKind.ERROR, message=message, exit_code=ending.code, stderr_tail=tail)
    error_type, said = _last_words(tail)
    message = f"exit code {ending.code}" + (f": {said}" if said else "")
    return Failure(
        kind=FailureKind.ERROR,
        message=message,
        error_type=error_type,
        exit_code=ending.code,
        stderr_tail=tail,
        traceback=_traceback(tail),
    )


def timeout_failure(ending: Ending, timeout_ms: int, tail: tuple[str, ...]) -> Failure:
    """It ran longer than ``--timeout`` allows."""
    return Failure(
        kind=FailureKind.TIMEOUT,
        message=f"ran longer than its limit of {format_duration(timeout_ms)}",
        exit_code=ending.code,
        signal=None if ending.signum is None else signal_name(ending.signum),
        stderr_tail=tail,
    )


def not_started_failure(exit_code: int, program: str, why: str) -> Failure:
    """The command could not be executed at all."""
    return Failure(
        kind=FailureKind.ERROR,
        message=clean_line(f"{program}: {why}", _MAX_WORD_BYTES),
        error_type="NotFound" if exit_code == 127 else "NotExecutable",
        exit_code=exit_code,
    )


def _last_words(tail: tuple[str, ...]) -> tuple[str | None, str | None]:
    """The exception that the last lines name, else the last line that says anything."""
    for line in reversed(tail):
        match = _RAISED.match(line)
        if match is not None:
            return match["type"].rsplit(".", 1)[-1], line.strip()
    spoken = [line.strip() for line in tail if line.strip()]
    return None, spoken[-1][:500] if spoken else None


def _traceback(tail: tuple[str, ...]) -> str | None:
    starts = [place for place, line in enumerate(tail) if line.startswith("Traceback (most recent call last)")]
    return "\n".join(tail[starts[-1] :]) if starts else None


def summary(
    *, duration_ms: int, exit_code: int | None, lines: int, output_bytes: int, peak_memory: int | None
) -> dict[str, Any]:
    """What is known of the run when it is over."""
    told: dict[str, Any] = {
        "durationMs": duration_ms,
        "exitCode": exit_code,
        "outputLines": lines,
        "outputBytes": output_bytes,
    }
    if peak_memory is not None:
        told["peakMemory"] = peak_memory
    return told
