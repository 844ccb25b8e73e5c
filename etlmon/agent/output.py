"""Bytes → lines: what passed through, made readable. Pure; knows nothing of pipes, threads or reports."""

from __future__ import annotations

import re

from etlmon.core.text import clean_line, strip_ansi

MAX_LINE_BYTES = 16_000
_HELD_BYTES = 4 * MAX_LINE_BYTES
"""What is held of a line that has not ended: all that could be kept, and room for what escape sequences take."""
SEEN_BYTES = 4096
"""How much of what came last is shown to whoever reads the progress."""

_CURSOR_UP = re.compile(r"\x1b\[\d*[AF]")
_BAR = re.compile(r"[━╸╺╍─█▉▊▋▌▍▎▏░▒▓■□⣿#=>.\-]{4,}.*\d|\d%")


class Lines:
    """Puts one channel's bytes together to lines, without escape sequences.

    Of a line that redraws itself by carriage returns only its last state counts. A program that moves the cursor up
    draws whole frames again and again: of its bars only the full ones are lines, and each only once.
    """

    def __init__(self) -> None:
        self.seen = b""
        self._open = b""
        self._cut = 0
        self._draws_frames = False
        self._last = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes; ``seen`` is then the newest that came, whole or not."""
        if self._open:
            data = self._open + data
        self.seen = data[-SEEN_BYTES:]
        end = data.rfind(b"\n")
        if end < 0:
            self._hold(data)
            return []
        lines = self._read(data[:end])
        self._cut = 0
        self._hold(data[end + 1 :])
        return lines

    def flush(self, *, final: bool) -> list[str]:
        """The line that has not ended: at the end whatever it is, before that only if nothing redraws it."""
        if not self._open or (not final and b"\r" in self._open):
            return []
        lines = self._read(self._open)
        self._open, self._cut = b"", 0
        return [line for line in lines if line]

    def _hold(self, rest: bytes) -> None:
        if len(rest) > _HELD_BYTES:
            last = rest.rfind(b"\r", 0, -1)
            if last >= 0:
                rest = rest[last:]
            self._cut += max(0, len(rest) - _HELD_BYTES)
            rest = rest[:_HELD_BYTES]
        self._open = rest

    def _read(self, raw: bytes) -> list[str]:
        if raw[-1:] == b"\r":
            raw = raw[:-1]
        text = raw.decode(errors="replace")
        if "\x1b" in text or "\x9b" in text:
            self._draws_frames = self._draws_frames or _CURSOR_UP.search(text) is not None
            text = strip_ansi(text)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        if "\r" in text:
            lines = [line for line in map(_last_state, lines) if line is not None]
        if self._cut:
            lines[0] = _mark_cut(lines[0], self._cut)
        if "\x00" in text or 4 * max(map(len, lines), default=0) > MAX_LINE_BYTES:
            lines = [clean_line(line, MAX_LINE_BYTES) for line in lines]
        return self._without_redrawn(lines) if self._draws_frames else lines

    def _without_redrawn(self, lines: list[str]) -> list[str]:
        kept = []
        for line in lines:
            drawn = _BAR.search(line) is not None
            if line and line != self._last and not (drawn and "100%" not in line):
                kept.append(line)
            if line:
                self._last = line
        return kept


def _last_state(line: str) -> str | None:
    """What a terminal shows in the end of a line that went back to its start; None when that is nothing."""
    if "\r" not in line:
        return line
    return line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() or None


def _mark_cut(line: str, lost: int) -> str:
    raw = line.encode()
    kept = raw[: MAX_LINE_BYTES - 40].decode(errors="ignore")
    return f"{kept} … [cut {len(raw) - len(kept.encode()) + lost} bytes]"
