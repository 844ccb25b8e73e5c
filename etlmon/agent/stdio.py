"""What the child gets as stdin, stdout and stderr: each output is judged alone, and two that are one file stay one.

A terminal becomes a pty, anything else a pipe; an input that is no terminal is the child's own, untouched.
"""

from __future__ import annotations

import contextlib
import os
import stat
import termios
from collections.abc import Set
from typing import NamedTuple

from etlmon.agent.pty import InnerTerminal, OuterTerminal

_NAMES = {1: "stdout", 2: "stderr"}


class Channel(NamedTuple):
    """One way for output: bytes read from ``source`` go to ``sink``. ``logger`` is None where two streams share it."""

    source: int
    sink: int
    logger: str | None


class Arrangement:
    """The descriptors of one run: what the child is given, what is copied, and the terminals between."""

    def __init__(self) -> None:
        self.fds: list[int | None] = [0, 1, 2]
        self.channels: list[Channel] = []
        self.inner: list[InnerTerminal] = []
        self._childs: list[int] = []

    @property
    def session(self) -> InnerTerminal | None:
        """The inner terminal that carries the input too: its child needs a session of its own."""
        return next((inner for inner in self.inner if inner.with_input), None)

    def close_childs(self) -> None:
        """Let go of the ends that only the child uses."""
        for fd in self._childs:
            os.close(fd)
        self._childs.clear()


def arrange(closed: Set[int], *, capture: bool) -> Arrangement:
    """Judge the three descriptors that we were given; ``closed`` are those that ``fill_closed`` found so."""
    arrangement = Arrangement()
    for fd in closed:
        arrangement.fds[fd] = None
    if capture:
        seen: dict[tuple[int, ...], int] = {}
        for fd in (1, 2):
            if fd not in closed:
                _add(arrangement, fd, seen)
    return arrangement


def fill_closed() -> set[int]:
    """Those of 0, 1 and 2 that are closed; they are filled at once, so that nothing we open takes their place."""
    closed = set()
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            closed.add(fd)
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    return closed


def _add(arrangement: Arrangement, fd: int, seen: dict[tuple[int, ...], int]) -> None:
    file = identity(fd)
    if file in seen:
        given = arrangement.fds[seen[file]]
        arrangement.fds[fd] = given
        arrangement.channels[-1] = arrangement.channels[-1]._replace(logger=None)
        return
    seen[file] = fd
    inner = _inner_terminal(fd, arrangement)
    if inner is not None:
        arrangement.inner.append(inner)
        source, given = inner.master, inner.slave
        if inner.with_input:
            arrangement.fds[0] = given
    else:
        source, given = os.pipe()
        os.set_blocking(source, False)
    arrangement._childs.append(given)
    arrangement.fds[fd] = given
    arrangement.channels.append(Channel(source, fd, _NAMES[fd]))


def identity(fd: int) -> tuple[int, ...]:
    """What makes two descriptors the same file: device and inode, for devices also which device."""
    found = os.fstat(fd)
    kind = stat.S_IFMT(found.st_mode)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return (kind, found.st_rdev)
    return (kind, found.st_dev, found.st_ino)


def _inner_terminal(fd: int, arrangement: Arrangement) -> InnerTerminal | None:
    """A pty for a terminal. It carries the input too when that comes from the terminal that stdout goes to."""
    if not os.isatty(fd):
        return None
    with contextlib.suppress(termios.error, OSError):
        with_input = fd == 1 and arrangement.fds[0] == 0 and os.isatty(0) and identity(0) == identity(1)
        return InnerTerminal(OuterTerminal(fd), with_input=with_input)
    return None
