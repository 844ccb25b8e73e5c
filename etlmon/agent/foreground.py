"""Who has the keyboard: the foreground is given to the child, taken back, followed through Ctrl-Z, ``fg``, ``bg``."""

from __future__ import annotations

import os
import signal

from etlmon.agent.copying import Keyboard
from etlmon.agent.process import Child
from etlmon.agent.pty import ControllingTerminal, InnerTerminal
from etlmon.agent.signals import Signals
from etlmon.agent.stdio import Arrangement

STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Foreground:
    """The terminals of one run. ``given``: the child's group holds, or held, the foreground in our place."""

    def __init__(
        self,
        arrangement: Arrangement,
        terminal: ControllingTerminal | None,
        child: Child,
        signals: Signals,
        *,
        given: bool,
    ) -> None:
        self.given = given
        self._inner = arrangement.inner
        self._session = arrangement.session
        self._terminal = terminal
        self._child = child
        self._signals = signals
        self._keyboard: Keyboard | None = None

    @property
    def needs_looking(self) -> bool:
        """Whether something may change here that no signal tells of."""
        return bool(self._inner)

    @property
    def from_keyboard(self) -> bool:
        """Whether the child was the one whom the keyboard's signals reached, in the place of our whole group."""
        if self._session is not None:
            return _holds(self._session.outer.fd, os.getpgrp(), otherwise=False)
        return self.given

    def enter(self) -> None:
        """Take up the keyboard, if it is ours to take: raw and copied inward, or given to the child's group."""
        if self._session is not None:
            self._enter_session(self._session)
        elif self.given and self._terminal is not None and self._terminal.is_ours():
            self._terminal.give(self._child.pid)

    def _enter_session(self, session: InnerTerminal) -> None:
        if self._keyboard is None:
            self._keyboard = Keyboard(0, session.master)
            self._keyboard.start()
        if _holds(session.outer.fd, os.getpgrp(), otherwise=True):
            session.outer.make_raw()
            self._keyboard.foreground.set()
        else:
            self._keyboard.foreground.clear()

    def rest(self) -> None:
        """Copy no more of what is typed: it is for whoever comes next."""
        if self._keyboard is not None:
            self._keyboard.foreground.clear()

    def leave(self) -> None:
        """Put the terminal back as it was: its modes, and its foreground to our group."""
        self.rest()
        if self._session is not None:
            self._session.outer.restore()
        elif self._terminal is not None and self._terminal.foreground() == self._child.pid:
            self._terminal.give(os.getpgrp())

    def look(self) -> None:
        """Follow the outer terminal's size, and a foreground that came to us without a word."""
        resized = [inner.follow_size() for inner in self._inner]
        if self._session is None:
            if any(resized):  # the inner terminal has no session whose foreground the kernel could tell
                self._child.send_group(signal.SIGWINCH)
        elif self._keyboard is not None and not self._keyboard.foreground.is_set():
            self.enter()

    def resized(self) -> None:
        """SIGWINCH came to us: our group is the foreground."""
        if not any(inner.follow_size() for inner in self._inner) or self._session is None:
            self._child.send_group(signal.SIGWINCH)

    def lend(self, signum: int) -> bool:
        """The child was stopped for touching the terminal: let it, if the foreground is ours to give."""
        if signum == signal.SIGTSTP or self._terminal is None or not self._terminal.is_ours():
            return False
        self.given = True
        self._terminal.give(self._child.pid)
        self._child.send_group(signal.SIGCONT)
        return True

    def suspend(self, signum: int) -> tuple[bool, list[int]]:
        """Stop as the child was stopped, so that the shell sees it; returns when we are continued.

        Answers whether the child should go on, and the signals that came meanwhile. An orphaned group cannot be
        stopped from the keyboard: then a child that waits for the terminal stays stopped, and any other goes on.
        """
        if self.lend(signum):  # the foreground came to us meanwhile
            return True, []
        self.leave()
        if signum in STOPS:
            with self._signals.default(signum):
                os.killpg(0, signum)
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
        came = self._signals.take()
        continued = signal.SIGCONT in came
        if continued or signum == signal.SIGTSTP:
            self.enter()
            return True, [number for number in came if number != signal.SIGCONT]
        return False, came

    @property
    def is_controlled(self) -> bool:
        """Whether a shell with job control may be watching us."""
        if self._session is not None:
            return _holds(self._session.outer.fd, None, otherwise=False)
        return self._terminal is not None


def _holds(fd: int, group: int | None, *, otherwise: bool) -> bool:
    """Whether ``group`` holds the foreground of ``fd``; with None, whether ``fd`` is our controlling terminal."""
    try:
        found = os.tcgetpgrp(fd)
    except OSError:
        return otherwise
    return group is None or found == group
