"""The wrapper's signals: caught without losing one, handed to the main loop as bytes in a pipe, undone in the child.

It must not know what a signal means to the job: that is ``run``'s to say.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

TO_GROUP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Passed to the child's whole group: it stands in for ours, which a keyboard, a ``killpg`` or ``timeout`` meant."""
TO_CHILD = (signal.SIGUSR1, signal.SIGUSR2)
"""Passed to the child alone: they end a process that does not expect them, and nobody sends them to a group."""
_WATCHED = (*TO_GROUP, *TO_CHILD, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGCHLD)
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)  # ignored by the interpreter, default for everybody else
_WOKEN = b"\0"


def _noted(signum: int, frame: FrameType | None) -> None:
    """Nothing to do: the wakeup descriptor already holds the signal's number."""


class Signals:
    """Signals of one wrapper process. Those that were ignored when it started stay ignored, as the child's would."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._ignored_chld = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
        self._caught: list[signal.Signals] = []
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def install(self) -> None:
        """Catch what is passed on and what job control needs; to be called before the child exists."""
        for signum in _WATCHED:
            if signal.getsignal(signum) is signal.SIG_IGN and signum is not signal.SIGCHLD:
                continue
            signal.signal(signum, _noted)
            self._caught.append(signum)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable when a signal came or somebody called ``wake``."""
        return self._read

    def take(self) -> list[int]:
        """The signals that came since the last call, in order."""
        try:
            return [number for number in os.read(self._read, 4096) if number]
        except BlockingIOError:
            return []

    def wake(self) -> None:
        """Let the main loop look around (from any thread)."""
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._write, _WOKEN)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every signal waiting, so that none is lost or misread between fork and exec."""
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def restore_in_child(self) -> None:
        """Between fork and exec: everything as it was when the wrapper was started."""
        signal.set_wakeup_fd(-1)
        for signum in (*self._caught, *_PYTHONS_OWN):
            signal.signal(signum, signal.SIG_DFL)
        if self._ignored_chld:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    @contextlib.contextmanager
    def default(self, signum: int) -> Iterator[None]:
        """Let ``signum`` do to this process what it does to any other, for the time of the block."""
        before = signal.signal(signum, signal.SIG_DFL)
        try:
            yield
        finally:
            signal.signal(signum, before)


def signal_name(signum: int) -> str:
    """``9`` → ``"SIGKILL"``; realtime signals by number."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"SIG{signum}"


def die_of(signum: int, *, whole_group: bool = False) -> None:
    """End this process by ``signum`` as the child was ended, without a core file of our own.

    With ``whole_group`` our group gets it, as it would have from the keyboard. Returns only where the signal cannot
    end us (process 1 of a container): then the caller exits with 128 + n.
    """
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if signum not in (signal.SIGKILL, signal.SIGSTOP):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    if whole_group:
        os.killpg(0, signum)
    os.kill(os.getpid(), signum)
