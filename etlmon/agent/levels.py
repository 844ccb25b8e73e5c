"""How grave a line is, guessed from the words that programs put in front of their messages. Pure."""

from __future__ import annotations

import re

from etlmon.core.job import LEVEL_ALIASES, LEVEL_NAME, LEVEL_NUMBER

DEFAULT = "info"
_LOOKED_AT = 200
_WORDS = ("err", "warn", "debug", "fatal", "crit", "trace", "exception", "fail", "panic", "severe")
"""Without one of these a line is of the default level: looked for in the whole text at once, then line by line."""

_NAMES = "trace|debug|info|notice|warn|warning|error|err|severe|critical|crit|fatal|panic"
_LEVEL = re.compile(
    rf"\b(?:({_NAMES.upper()}|FAIL|FAILED|FAILURE)\b"  # 2026-01-31 08:00:00 ERROR …
    rf"|(?i:level|lvl|severity)[\"']?\s*[=:]\s*[\"']?(\w+)"  # level=error, "level": "error"
    rf"|((?i:{_NAMES}))(?=\s?[:\])>!|]))"  # error: …, [warn] …
    r"|^\s*(?:Caused by: |Exception in thread )|(?:^|\s)[\w.$]*[a-z](Error|Exception|Warning)(?::|$)"
)
_ALIASES = LEVEL_NUMBER | LEVEL_ALIASES | {"severe": 40, "panic": 50, "fail": 40, "failed": 40, "failure": 40}
_TRACEBACK = "Traceback (most recent call last)"


class Levels:
    """Guesses for one channel; a traceback is an error down to the line that names the exception."""

    def __init__(self) -> None:
        self._in_traceback = False

    def guess(self, lines: list[str]) -> list[str] | None:
        """A level for each line; None when all are of the default level, which is the usual case and costs little."""
        text = "\n".join(lines).lower()
        words = [word for word in _WORDS if word in text]
        if not words and not self._in_traceback:
            return None
        return [self._of(line, words) for line in lines]

    def _of(self, line: str, words: list[str]) -> str:
        if self._in_traceback:
            if not line or line[0] in " \t" or line.startswith(("During handling", "The above exception")):
                return "error"
            self._in_traceback = _TRACEBACK in line
            return "error"
        head = line[:_LOOKED_AT]
        lower = head.lower()
        for word in words:
            if word in lower:
                break
        else:
            return DEFAULT
        if _TRACEBACK in head:
            self._in_traceback = True
            return "error"
        return level_of(head)


def level_of(line: str) -> str:
    """The level that one line names, the first if it names several."""
    match = _LEVEL.search(line)
    if match is None:
        return DEFAULT
    word = match[1] or match[2] or match[3]
    if word is None:
        return "warning" if match[4] == "Warning" else "error"
    return LEVEL_NAME[_ALIASES.get(word.lower(), 20)]
