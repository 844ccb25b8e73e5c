"""``job.log``: lines of one job, said as ``logging`` says them, with no logging configured and none needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from etlmon.sdk.arguments import text_of
from etlmon.sdk.guard import harmless

if TYPE_CHECKING:
    from etlmon.sdk.job import Job


class JobLog:
    """A logger's verbs. ``%`` arguments as there; keyword arguments become the line's fields."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def debug(self, message: object, *args: object, **fields: Any) -> None:
        """A line of level debug."""
        self._say("debug", message, args, fields)

    def info(self, message: object, *args: object, **fields: Any) -> None:
        """A line of level info."""
        self._say("info", message, args, fields)

    def warning(self, message: object, *args: object, **fields: Any) -> None:
        """A line of level warning."""
        self._say("warning", message, args, fields)

    def error(self, message: object, *args: object, **fields: Any) -> None:
        """A line of level error."""
        self._say("error", message, args, fields)

    def critical(self, message: object, *args: object, **fields: Any) -> None:
        """A line of level critical."""
        self._say("critical", message, args, fields)

    def exception(self, message: object, *args: object, **fields: Any) -> None:
        """A line of level error with the exception that is being handled."""
        self._say("error", message, args, {"exc_info": True, **fields})

    @harmless
    def _say(self, level: str, message: object, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        text = text_of(message)
        if args:
            text = formatted(text, args)
        exc_info = fields.pop("exc_info", None)
        fields.update(fields.pop("extra", None) or {})
        if exc_info:
            from etlmon.sdk.failures import traceback_of

            error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
            if error is not None:
                text = f"{text}\n{traceback_of(type(error), error, error.__traceback__) or repr(error)}".rstrip()
        self._job.say(level, text, fields=fields)


def formatted(text: str, args: tuple[object, ...]) -> str:
    """``text % args``; where they do not fit together, both as they are, rather than nothing."""
    try:
        return text % (args[0] if len(args) == 1 and isinstance(args[0], dict) else args)
    except Exception:  # noqa: BLE001 - somebody's __str__ or __format__
        return f"{text} ({', '.join(text_of(each) for each in args)})"
