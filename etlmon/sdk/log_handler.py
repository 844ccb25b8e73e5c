"""``etlmon.LogHandler``: the lines of Python's ``logging``, attached to the job they were said in."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from etlmon.sdk import process
from etlmon.sdk.arguments import text_of
from etlmon.sdk.guard import harmless
from etlmon.sdk.job_log import formatted

if TYPE_CHECKING:
    from etlmon.sdk.job import Job

_STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""What every record has: the rest came by ``extra`` and becomes the line's fields."""
_N_PLAIN: Final = len(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
_PLAIN: Final = logging.Formatter()
_LEVELS: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
MAX_DEPTH: Final = 4
"""Lines said while a line is taken (a ``__str__`` that logs, a signal handler) are taken so deep and no deeper."""


def level_of(number: int) -> str:
    """The interface's level for a logging level number."""
    for least, name in _LEVELS:
        if number >= least:
            return name
    return "debug"


_NAMES: Final = {number: level_of(number) for number in range(0, 61)}


class LogHandler(logging.Handler):
    """Sends each record to the current job; without a job, nowhere. Never blocks, raises or recurses without end."""

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._inside = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record. What etlmon itself logs is left out."""
        name = record.name
        if name.startswith("etlmon") and (len(name) == 6 or name[6] == "."):
            return
        inside = self._inside
        depth = getattr(inside, "depth", 0)
        if depth >= MAX_DEPTH:
            return
        job = process.job_here()
        if job is None:
            return
        inside.depth = depth + 1
        try:
            self._take(job, record)
        finally:
            inside.depth = depth

    @harmless
    def _take(self, job: Job, record: logging.LogRecord) -> None:
        number = record.levelno
        job.reporter.log(
            job.id,
            _NAMES.get(number) or level_of(number),
            self._text(record),
            at=int(record.created * 1000),
            logger=record.name,
            step=job.current_step,
            fields=_fields(record),
            fencing_token=job.fencing_token,
        )

    def _text(self, record: logging.LogRecord) -> str:
        if self.formatter is not None:
            return self.format(record)
        text = text_of(record.msg)
        if record.args:
            text = formatted(text, record.args if isinstance(record.args, tuple) else (record.args,))
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{_PLAIN.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        return text


def _fields(record: logging.LogRecord) -> dict[str, Any] | None:
    if len(record.__dict__) == _N_PLAIN:
        return None
    extra = record.__dict__.keys() - _STANDARD
    if not extra:
        return None
    return {key: record.__dict__[key] for key in sorted(extra)}
