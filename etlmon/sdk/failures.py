"""How a job ended, from the exception that left it: which final report to send, and what it says."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Final

from etlmon.sdk.control import JobCancelled

MAX_TRACEBACK: Final = 32 * 1024
MAX_MESSAGE: Final = 8 * 1024


def preload_exit() -> None:
    """Load now what delivering at the exit needs.

    After an unhandled KeyboardInterrupt CPython means to die of SIGINT, and forgets it when anything is evaluated on
    the way out, as the named tuples of urllib.parse are when http.client is loaded only then: the exit code would be 1.
    """
    import http.client  # noqa: F401
    import urllib.parse  # noqa: F401


def ending_of(error: BaseException | None) -> dict[str, Any]:
    """The final report (without the job's id) for a job that ``error`` left, or that came to its end."""
    if error is None or isinstance(error, GeneratorExit):
        return {"kind": "completed"}  # a consumer that stops early has what it wanted
    if isinstance(error, JobCancelled):
        return {"kind": "cancelled", "reason": error.reason}
    if isinstance(error, KeyboardInterrupt):
        preload_exit()
        return {"kind": "cancelled", "reason": "interrupted from the keyboard"}
    if _is_task_cancelled(error):
        return {"kind": "cancelled", "reason": "the asyncio task was cancelled"}
    if isinstance(error, SystemExit):
        return _exit(error)
    return {"kind": "failed", "failure": failure_of(error)}


def failure_of(error: BaseException) -> dict[str, Any]:
    """What a report says of an exception."""
    return {
        "kind": "error",
        "message": message_of(error) or type(error).__name__,
        "errorType": type_name(error),
        "traceback": traceback_of(type(error), error, error.__traceback__),
    }


def type_name(error: BaseException) -> str:
    """``ValueError``, ``psycopg.errors.UniqueViolation``: with its module unless it is Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """The exception's text, in bounds; a ``__str__`` that raises is answered for."""
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception as fault:  # noqa: BLE001 - somebody's __str__; the failure must be told all the same
        return f"<its text cannot be had: {type(fault).__name__}>"


def traceback_of(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> str | None:
    """The formatted traceback, its end kept when it is long; None when it cannot be formatted."""
    import traceback

    try:
        text = "".join(traceback.format_exception(kind, error, at, limit=-50))
    except Exception:  # noqa: BLE001 - as above
        return None
    if len(text) <= MAX_TRACEBACK:
        return text
    return "… [cut]\n" + text[-MAX_TRACEBACK:]


def _exit(error: SystemExit) -> dict[str, Any]:
    code = error.code
    if code is None or code == 0:
        return {"kind": "completed"}
    number = code if isinstance(code, int) else 1
    message = f"exit status {number}" if isinstance(code, int) else message_of(error)
    return {
        "kind": "failed",
        "failure": {"kind": "error", "message": message, "errorType": "SystemExit", "exitCode": number},
    }


def _is_task_cancelled(error: BaseException) -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)
