"""What an operator asked of one job, kept until the job comes by: pause, resume, cancel. Knows no server.

Commands come in the command thread; ``checkpoint`` is the program's. A pause is obeyed at the next checkpoint.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

    from etlmon.core.reports import CommandItem


class JobCancelled(BaseException):
    """An operator cancelled the job. Like ``asyncio.CancelledError`` no ``Exception``: a loop that survives bad rows
    with ``except Exception`` must not survive this."""

    def __init__(self, reason: str | None = None, by: str | None = None) -> None:
        super().__init__(reason or "cancelled")
        self.reason = reason
        self.by = by


class Control:
    """The controls of one job. ``wanted``: a checkpoint has something to do; one attribute, read per item."""

    def __init__(self, report: Callable[[dict[str, Any]], None], hurry: Callable[[], None]) -> None:
        self.wanted = False
        self.paused = False
        """Whether the program stands still at a checkpoint now."""
        self._report = report
        self._hurry = hurry
        self._changed = threading.Condition()
        self._pause: CommandItem | None = None
        self._resume: CommandItem | None = None
        self.cancel: CommandItem | None = None
        self._sleepers: list[tuple[AbstractEventLoop, Future[None]]] = []

    def obey(self, command: CommandItem) -> None:
        """Take a command in; what cannot be obeyed is refused at once, by a report that names it."""
        with self._changed:
            match command.action:
                case "pause":
                    self._pause, self._resume = command, None
                case "resume":
                    if not self.paused:  # not yet reached a checkpoint: there is nothing to stand still for any more
                        self._pause = None
                        self._report({"kind": "resumed", "commandId": command.id})
                    self._resume = command
                case "cancel":
                    self.cancel = command
                case _:
                    why = f"the SDK does not know {command.action!r}"
                    self._report({"kind": "control_refused", "commandId": command.id, "reason": why})
                    return
            self.wanted = self._pause is not None or self.cancel is not None
            self._changed.notify_all()
            sleepers, self._sleepers = self._sleepers, []
        self._hurry()
        for loop, future in sleepers:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, future)

    def release(self) -> None:
        """The job is over: nobody may stand still any more."""
        with self._changed:
            self.wanted = False
            self._pause = None
            self._changed.notify_all()

    def checkpoint(self, *, may_wait: bool = True) -> None:
        """Stand still while paused; JobCancelled when cancelled. ``may_wait`` False: only the latter."""
        with self._changed:
            if may_wait and self._begin_pause():
                while self._stands_still():
                    self._changed.wait()
                self._end_pause()
            self._raise_if_cancelled()

    async def acheckpoint(self) -> None:
        """As ``checkpoint``, without holding up the event loop."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        with self._changed:
            pausing = self._begin_pause()
        try:
            while pausing:
                with self._changed:
                    if not self._stands_still():
                        break
                    future = loop.create_future()
                    self._sleepers.append((loop, future))
                await future
        finally:  # also when the task is cancelled while it stands still
            if pausing:
                with self._changed:
                    self._end_pause()
        self._raise_if_cancelled()

    def _begin_pause(self) -> bool:
        if self._pause is None or self.cancel is not None:
            return False
        if not self.paused:  # the first of perhaps several threads to come by
            self.paused = True
            self._report({"kind": "paused", "commandId": self._pause.id})
        return True

    def _stands_still(self) -> bool:
        return self._pause is not None and self._resume is None and self.cancel is None

    def _end_pause(self) -> None:
        if not self.paused:
            return
        self.paused = False
        if self._resume is not None:
            self._report({"kind": "resumed", "commandId": self._resume.id})
        elif self.cancel is None:
            self._report({"kind": "resumed"})
        self._pause = self._resume = None
        self.wanted = self.cancel is not None

    def _raise_if_cancelled(self) -> None:
        if self.cancel is not None:
            raise JobCancelled(self.cancel.reason, self.cancel.by)


def _wake(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
