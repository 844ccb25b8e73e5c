"""The server's own log on stderr: constant messages with what varies beside them, as text or as JSON lines.

Everything that varies may come from outside, so it is made safe before it reaches a terminal.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec

from etlmon.core.instants import format_instant
from etlmon.core.text import shown, shown_json

_OWN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller put beside the message."""
    return {key: value for key, value in record.__dict__.items() if key not in _OWN}


class TextFormat(logging.Formatter):
    """``2026-11-23T02:36:47.123Z INFO etlmon.server.main The server serves url=…``"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it when there is one."""
        parts = [format_instant(int(record.created * 1000)), record.levelname, record.name, record.getMessage()]
        parts += [f"{key}={value}" for key, value in extras(record).items()]
        line = shown(" ".join(parts))
        return (
            line
            if not record.exc_info
            else f"{line}\n{shown(self.formatException(record.exc_info), keep_newlines=True)}"
        )


class JsonFormat(logging.Formatter):
    """The same as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told: dict[str, Any] = {
            "at": format_instant(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return shown_json(msgspec.json.encode(told, enc_hook=str).decode())


def narrate(level: str, form: str) -> None:
    """Send the process's log to stderr from ``level`` up, in ``form`` (text or json)."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(JsonFormat() if form == "json" else TextFormat())
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
