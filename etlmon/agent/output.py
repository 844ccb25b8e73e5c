"""Bytes → lines: what passed through, made readable. Pure; knows nothing of pipes, threads or reports."""

from __future__ import annotations

import re

from etlmon.core.text import clean_line, strip_ansi

MAX_LINE_BYTES = 16_000
_HELD_BYTES = 4 * MAX_LINE_BYTES
"""What is held of a line that has not ended: all that could be kept, and room for what escape sequences take."""
SEEN_BYTES = 4096
"""How much of what came last is shown to whoever reads the progress."""

_MAX_FRAME = 200
_CURSOR_UP = re.compile(r"\x1b\[(\d*)[AF]")


class Lines:
    """Puts one channel's bytes together to lines, without escape sequences.

    Of a line that redraws itself by carriage returns only its last state counts. A program that moves the cursor up
    draws frames: as many lines as it ever went up are kept back, since the next frame may replace them.
    """

    def __init__(self) -> None:
        self.seen = b""
        self._open = b""
        self._cut = 0
        self._frame: list[str] = []
        self._height = 0

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
        """What is held back: at the end whatever it is, before that not a line that redraws itself."""
        lines: list[str] = []
        if self._open and (final or b"\r" not in self._open):
            lines = [line for line in self._read(self._open) if line]
            self._open, self._cut = b"", 0
        held, self._frame = self._frame, []
        return lines + held

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
        if self._height or ("\x1b" in text and _CURSOR_UP.search(text)):
            return self._read_frames(text)
        text = strip_ansi(text)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        if "\r" in text:
            lines = [line for line in map(_last_state, lines) if line is not None]
        return self._clean(lines, text)

    def _clean(self, lines: list[str], text: str) -> list[str]:
        if self._cut and lines:
            lines[0] = _mark_cut(lines[0], self._cut)
        if "\x00" in text or 4 * max(map(len, lines), default=0) > MAX_LINE_BYTES:
            lines = [clean_line(line, MAX_LINE_BYTES) for line in lines]
        return lines

    def _read_frames(self, text: str) -> list[str]:
        """Line by line: going up takes back the lines that will be drawn over."""
        rows = text.split("\n")
        ups = [sum(int(count or 1) for count in _CURSOR_UP.findall(row)) for row in rows]
        self._height = max(self._height, min(max(ups), _MAX_FRAME))
        done: list[str] = []
        for drawn, up in zip(rows, ups, strict=True):
            if up:
                del self._frame[max(0, len(self._frame) - up) :]
            line = _last_state(strip_ansi(drawn))
            if line is not None:
                self._frame.append(line)
            ready = len(self._frame) - self._height
            if ready > 0:
                done += self._frame[:ready]
                del self._frame[:ready]
        return self._clean(done, text)


def _last_state(line: str) -> str | None:
    """What a terminal shows in the end of a line that went back to its start; None when that is nothing."""
    if "\r" not in line:
        return line
    return line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() or None


def _mark_cut(line: str, lost: int) -> str:
    raw = line.encode()
    kept = raw[: MAX_LINE_BYTES - 40].decode(errors="ignore")
    return f"{kept} … [cut {len(raw) - len(kept.encode()) + lost} bytes]"
