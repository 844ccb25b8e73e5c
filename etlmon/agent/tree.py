"""The child and all that it started, signalled as one: its group at once, then what left the group, parents first."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING

from etlmon.agent.process import Child

if TYPE_CHECKING:
    import psutil

_ROUNDS = 10
"""How often the tree is looked through again for children that were made meanwhile: a stopped parent makes none."""


class Tree:
    """Every process under one child. PermissionError where the command became another user's."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._known: dict[psutil.Process, None] = {}  # in the order of finding: parents first

    def stop(self) -> None:
        """SIGSTOP to all of it."""
        self._child.send_group(signal.SIGSTOP)
        for _ in range(_ROUNDS):
            fresh = self._find()
            if not fresh:
                return
            _send(self._outside(fresh), signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to all of it, children first, so that none is awaited while it cannot answer."""
        self._find()
        _send(self._outside(reversed(self._known)), signal.SIGCONT)
        self._child.send_group(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM to all of it; what was stopped is continued, so that it can obey."""
        self._find()
        outside = self._outside(self._known)
        self._child.send_group(signal.SIGTERM)
        _send(outside, signal.SIGTERM)
        _send(outside, signal.SIGCONT)
        self._child.send_group(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to all of it, also to what its parents have left behind since."""
        self._find()
        with contextlib.suppress(PermissionError):
            self._child.send_group(signal.SIGKILL)
        _send(self._known, signal.SIGKILL)

    def lives(self) -> bool:
        """Whether anything that was signalled still runs."""
        import psutil

        for process in self._known:
            with contextlib.suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    return True
        return False

    def _find(self) -> list[psutil.Process]:
        """Descendants that were not known before, parents first."""
        import psutil

        try:
            found = psutil.Process(self._child.pid).children(recursive=True)
        except psutil.Error:
            return []
        fresh = [process for process in found if process not in self._known]
        self._known.update(dict.fromkeys(fresh))
        return fresh

    def _outside(self, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
        """Those that the group's signal does not reach."""
        return [process for process in processes if _group_of(process.pid) != self._child.pid]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _send(processes: Iterable[psutil.Process], signum: int) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(signum)
