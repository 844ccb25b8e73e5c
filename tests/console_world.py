"""What tests of the console share: the whole console under a pilot, or as a program in a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable

import pytest
from textual.pilot import Pilot

from etlmon.host.endpoint import Endpoint
from etlmon.tui.app import Console
from world import ServerProcess

DEADLINE_S = 40.0


class Seat:
    """A person at the console: keys, and what is to be seen."""

    def __init__(self, app: Console, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def lines(self) -> list[str]:
        """The terminal, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        """The terminal."""
        return "\n".join(self.lines)

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Wait for a fact."""
        end = time.monotonic() + DEADLINE_S
        while not holds():
            if time.monotonic() > end:
                pytest.fail(f"waited {DEADLINE_S:.0f} s in vain: {what}\n{self.text}")
            await self.pilot.pause(0.02)

    async def shows(self, *texts: str) -> None:
        """Wait until all of these are to be seen."""
        await self.until(lambda: all(text in self.text for text in texts), f"{texts} to be seen")

    async def hides(self, text: str) -> None:
        """Wait until this is not to be seen."""
        await self.until(lambda: text not in self.text, f"{text!r} to be gone")

    async def press(self, *keys: str) -> None:
        """Keys."""
        await self.pilot.press(*keys)

    async def types(self, text: str) -> None:
        """Text, key by key."""
        await self.pilot.press(*("space" if char == " " else char for char in text))


@contextlib.asynccontextmanager
async def console(
    of: ServerProcess | Callable[[], Endpoint], *, size: tuple[int, int] = (120, 30), live: bool = True, **more: object
) -> AsyncIterator[Seat]:
    """The console of a server; ``live`` waits until its jobs are on the screen."""
    app = Console(_finder(of), **more)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        seat = Seat(app, pilot)
        if live:
            await seat.until(lambda: app.feed.has_list, "the list")
            await seat.until(lambda: bool(app.jobs.order) or not app.jobs.total, "the rows")
            await pilot.pause(0.2)
        yield seat


def _finder(of: ServerProcess | Callable[[], Endpoint]) -> Callable[[], Endpoint]:
    if isinstance(of, ServerProcess):
        return lambda: Endpoint(url=of.url, token=of.token, origin="test")
    return of


class Tty:
    """``etlmon tui`` in a pty; all that it writes is kept."""

    def __init__(self, server: ServerProcess, *args: str, size: tuple[int, int] = (100, 30), **env: str) -> None:
        self.written = bytearray()
        argv = [sys.executable, "-m", "etlmon", "tui", *args]
        given = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", **env}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, {**server.env, **given})
        self.resize(*size)

    def resize(self, columns: int, lines: int) -> None:
        """Another size of the window."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGWINCH)

    def read(self, seconds: float) -> None:
        """Take what comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                try:
                    piece = os.read(self.fd, 1 << 16)
                except OSError:
                    return
                if not piece:
                    return
                self.written += piece

    def until(self, pattern: str, *, after: int = 0) -> None:
        """Wait until it has written this."""
        wanted = re.compile(pattern.encode())
        end = time.monotonic() + DEADLINE_S
        while not wanted.search(bytes(self.written[after:])):
            if time.monotonic() > end or self.ended is not None:
                pytest.fail(f"{pattern!r} was not written; the last: {bytes(self.written[-1500:])!r}")
            self.read(0.05)

    @property
    def ended(self) -> int | None:
        """The exit code, if it has ended."""
        if not hasattr(self, "_status"):
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if not done:
                return None
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self) -> int | None:
        """The exit code, once it has ended; None when it does not end."""
        end = time.monotonic() + DEADLINE_S
        while self.ended is None and time.monotonic() < end:
            self.read(0.05)
        return self.ended

    def press(self, keys: str) -> int:
        """Type; how much it had written before."""
        before = len(self.written)
        os.write(self.fd, keys.encode())
        return before

    def close(self) -> None:
        """End it, whatever it does."""
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


async def soon(holds: Callable[[], object], what: str) -> None:
    """Wait for a fact outside the console."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.02)
