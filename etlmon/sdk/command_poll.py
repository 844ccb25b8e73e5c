"""The command thread: asks the server, by long poll, what an operator wants of this producer's jobs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from etlmon.host.clock import monotonic_s
from etlmon.sdk.guard import harmless
from etlmon.sdk.patience import NOT_ALLOWED_S, Patience
from etlmon.sdk.transport import Busy, Commands, NotAllowed, Transport

if TYPE_CHECKING:
    from etlmon.host.endpoint import Endpoint

WAIT_S: Final = 20
LEAST_S: Final = 1.0
"""The least time between two polls, for a server that answers at once."""


class CommandPoll:
    """Polls while somebody listens, once the server has acknowledged something: before, it does not know us."""

    def __init__(
        self,
        where: Callable[[], tuple[Endpoint, str] | None],
        on_commands: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self._where = where
        self._on_commands = on_commands
        self._transport: Transport | None = None
        self._patience = Patience()
        self._listening = threading.Event()
        self._stopped = threading.Event()

    def listen(self, *, on: bool) -> None:
        """Begin or end to ask."""
        if on:
            self._listening.set()
        else:
            self._listening.clear()

    def stop(self) -> None:
        """End the thread, also in the middle of a wait."""
        self._stopped.set()
        self._listening.set()
        if self._transport is not None:
            self._transport.interrupt()

    def abandon(self) -> None:
        """After a fork: let go of this process's copy of the connection."""
        if self._transport is not None:
            self._transport.abandon()

    def run(self) -> None:
        """The thread's life."""
        while not self._stopped.is_set() and not sys.is_finalizing():
            self._listening.wait()
            pause = self._turn()
            self._stopped.wait(LEAST_S if pause is None else pause)
        if self._transport is not None:
            self._transport.close()

    @harmless
    def _turn(self) -> float:
        """One poll; the seconds to wait before the next."""
        place = self._where()
        if place is None or self._stopped.is_set():
            return 0.2
        endpoint, producer = place
        if self._transport is None or self._transport.endpoint is not endpoint:
            if self._transport is not None:
                self._transport.close()
            self._transport = Transport(endpoint)
        began = monotonic_s()
        answer = self._transport.get_commands(producer, WAIT_S)
        match answer:
            case Commands(items):
                self._patience.success()
                if items:
                    self._on_commands(items)
                return max(0.0, LEAST_S - (monotonic_s() - began)) if not items else 0.05
            case NotAllowed():
                return NOT_ALLOWED_S
            case Busy(_, retry_after_s):
                return self._patience.asked(retry_after_s)
            case _:
                return self._patience.failure()
