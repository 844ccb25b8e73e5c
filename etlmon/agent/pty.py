"""Terminals: the one we were given (outer), and the pty that stands in for it before the child (inner).

Whatever is changed at the outer terminal is put back, also on the way out of a crash.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Iterator

_INPUT, _OUTPUT = 0, 1  # places in what tcgetattr answers
_CONTROL_TERMINAL = "/dev/tty"


@contextlib.contextmanager
def _from_background() -> Iterator[None]:
    """A background process that changes a terminal is stopped by SIGTTOU, unless it holds that signal off."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class OuterTerminal:
    """A terminal that our own descriptors lead to."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.modes = termios.tcgetattr(fd)
        self._raw = False

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return termios.tcgetwinsize(self.fd)

    def make_raw(self) -> None:
        """Hand every byte through untouched: line editing, echo and signals are the inner terminal's work now."""
        with _from_background(), contextlib.suppress(termios.error, OSError):  # it may be gone
            if not self._raw:
                self.modes = termios.tcgetattr(self.fd)
                atexit.register(self.restore)
                self._raw = True
            tty.setraw(self.fd, termios.TCSADRAIN)  # not the default TCSAFLUSH: it throws away what was typed ahead

    def restore(self) -> None:
        """The modes that were found; harmless when nothing was changed or the terminal is gone."""
        if not self._raw:
            return
        self._raw = False
        atexit.unregister(self.restore)
        with _from_background(), contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self.modes)


class InnerTerminal:
    """A pty with the outer terminal's size and modes.

    With ``input`` it carries the child's input too and does all that a terminal does; without, the outer terminal goes
    on doing it, and the inner one must not translate the output a second time.
    """

    def __init__(self, outer: OuterTerminal, *, with_input: bool) -> None:
        self.outer = outer
        self.with_input = with_input
        self.master, self.slave = os.openpty()
        modes = list(outer.modes)
        if not with_input:
            modes[_OUTPUT] = int(modes[_OUTPUT]) & ~termios.OPOST
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        self._size = (-1, -1)
        self.follow_size()
        os.set_blocking(self.master, False)

    def follow_size(self) -> bool:
        """Take over the outer size; whether it was another one. The kernel tells the inner session's foreground."""
        with contextlib.suppress(termios.error, OSError):
            size = self.outer.size()
            if size != self._size:
                self._size = size
                termios.tcsetwinsize(self.master, size)
                return True
        return False

    def close_slave(self) -> None:
        """Once the child has it: the master must see the end when the last user is gone."""
        os.close(self.slave)


class ControllingTerminal:
    """The terminal whose keyboard signals us, if there is one: who holds its foreground."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def open(cls) -> ControllingTerminal | None:
        """Ours, or None for a process without one (cron, a service)."""
        try:
            fd = os.open(_CONTROL_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        return cls(fd)

    def foreground(self) -> int | None:
        """The process group that the keyboard belongs to; None when the terminal is gone."""
        try:
            return os.tcgetpgrp(self.fd)
        except OSError:
            return None

    def is_ours(self) -> bool:
        """Whether our own group holds the foreground."""
        return self.foreground() == os.getpgrp()

    def give(self, group: int) -> bool:
        """Make ``group`` the foreground; whether it worked."""
        with _from_background():
            try:
                os.tcsetpgrp(self.fd, group)
            except OSError:
                return False
        return True


def alone_in_group() -> bool:
    """Whether no other process shares our group: no neighbour in a pipeline, no script that waits for us.

    Where others do, the foreground is given away only when the child asks for it: ``less`` at the end of a pipeline
    would be stopped at its first read of the keyboard.
    """
    own, group = os.getpid(), os.getpgrp()
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        import psutil  # no /proc here

        pids = psutil.pids()
    return not any(pid != own and _group_of(pid) == group for pid in pids)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
