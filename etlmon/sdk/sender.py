"""The sender thread: carries its own spool, orphans in between, waits as the answers ask, and ticks while it waits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, assert_never

from etlmon.host.clock import monotonic_s
from etlmon.sdk.bell import Bell
from etlmon.sdk.courier import Carried, Courier, Step
from etlmon.sdk.destination import EndpointSource, look_up
from etlmon.sdk.guard import harmless, warn_once
from etlmon.sdk.memory_spool import MemorySpool
from etlmon.sdk.orphans import look_for_orphan
from etlmon.sdk.patience import NOT_ALLOWED_S, Patience
from etlmon.sdk.spool import FileSpool
from etlmon.sdk.tail import Limits
from etlmon.sdk.transport import Transport

if TYPE_CHECKING:
    from etlmon.host.endpoint import Endpoint

LINGER_S: Final = 0.05
"""The least time between two small batches: twenty a second are live enough, and leave the program its CPU."""
TICK_S: Final = 0.2
LOOK_FOR_ORPHANS_S: Final = 30.0
LOOK_UP_S: Final = 5.0
"""How often a server that does not answer, or does not let us in, is looked for anew."""


class Sender:
    """Owns the spool's way out. One thread runs ``run``; the rest may be called from any."""

    def __init__(
        self,
        spool: FileSpool | MemorySpool,
        source: EndpointSource,
        endpoint: Endpoint | None,
        limits: Limits,
        *,
        on_commands: Callable[[list[dict[str, Any]]], None],
        live_states: Callable[[], list[dict[str, Any]]],
        on_tick: Callable[[], None],
        on_endpoint: Callable[[Endpoint], None],
        directory: Path | None,
    ) -> None:
        self.spool = spool
        self.reached = False
        """Whether the server's last word was an acknowledgement."""
        self.attempts = 0
        self.failed = False
        """Whether the newest try failed."""
        self.moved = threading.Condition()
        """Told whenever a try came to its end."""
        self._source = source
        self._endpoint = endpoint
        self._limits = limits
        self._directory = directory
        self._on_tick = on_tick
        self._on_endpoint = on_endpoint
        self.transport = Transport(endpoint) if endpoint is not None else None
        dead = directory / "dead" if directory is not None else None
        self._own = Courier(spool, limits, dead_letters=dead, on_commands=on_commands, live_states=live_states)
        self._orphan: Courier | None = None
        self._orphans_at = 0.0
        self._patience = Patience()
        self._not_before = 0.0
        self._asked = False
        self._look_up_at = 0.0
        self._bell = Bell()
        """Rung when there is something to send."""
        self._urgent = Bell()
        """Rung when somebody waits for it to be sent."""
        self._hurried = False
        self._stopping = False

    @property
    def resting_s(self) -> float:
        """For how long no new try is due."""
        return max(0.0, self._not_before - monotonic_s())

    def ring(self) -> None:
        """There is something to send."""
        self._bell.ring()

    def hurry(self) -> None:
        """Somebody waits for the spool to be empty: try now, unless the server itself asked for a pause."""
        self._hurried = True
        self._urgent.ring()
        self._bell.ring()

    def stop(self, *, at_once: bool = False) -> None:
        """End the thread after what it does now; ``at_once``: in the middle of a request, which an heir repeats."""
        self._stopping = True
        self.hurry()
        if at_once and self.transport is not None:
            self.transport.interrupt()

    def abandon(self) -> None:
        """After a fork: let go of this process's copies of what the parent's thread holds."""
        if self._orphan is not None:
            self._orphan.spool.abandon()
        if self.transport is not None:
            self.transport.abandon()

    def run(self) -> None:
        """The thread's life."""
        while not self._stopping and not sys.is_finalizing():
            if self._turn() is None:  # a fault of our own: told once by the guard; do not spin on it
                self._urgent.wait(1.0)
        self._finish()

    @harmless
    def _turn(self) -> bool:
        self._on_tick()
        self.spool.write_late()
        now = monotonic_s()
        if self._hurried:
            self._hurried = False
            if not self._asked:
                self._not_before = 0.0
        if now < self._not_before:
            self._look_again(now)
            self._urgent.wait(min(TICK_S, self._not_before - now))
            return True
        if self.transport is None and not self._look_again(now):
            self._urgent.wait(TICK_S)
            return True
        step = self._step()
        self._adopt(step)
        if step is Step.IDLE and self._orphan is None:
            self._bell.wait(TICK_S)
        elif step is Step.MOVED and not self._own.is_full:
            self._urgent.wait(LINGER_S)
        return True

    def _step(self) -> Step:
        assert self.transport is not None  # noqa: S101 - _turn sees to it
        carried = self._own.carry(self.transport)
        self._settle(carried)
        return carried.step

    def _settle(self, carried: Carried) -> None:
        now = monotonic_s()
        match carried.step:
            case Step.IDLE:
                pass
            case Step.MOVED:
                self._patience.success()
                self.reached, self.failed, self._asked = True, False, False
            case Step.BUSY:
                self.reached, self.failed, self._asked = True, True, carried.retry_after_s is not None
                self._not_before = now + self._patience.asked(carried.retry_after_s)
            case Step.NOT_ALLOWED:
                warn_once(
                    "not_allowed", f"etlmon: the server does not accept the token ({carried.why}): reports are kept"
                )
                self.reached, self.failed, self._asked = False, True, True
                self._not_before = now + NOT_ALLOWED_S
            case Step.NO_ANSWER:
                self.reached, self.failed, self._asked = False, True, False
                self._not_before = now + self._patience.failure()
                self._look_up_at = min(self._look_up_at, now + LOOK_UP_S)
            case _:
                assert_never(carried.step)
        self.attempts += carried.step is not Step.IDLE
        with self.moved:
            self.moved.notify_all()

    def _look_again(self, now: float) -> bool:
        """Look the endpoint up anew: a restarted server may have another port or token. True if it is another."""
        if now < self._look_up_at:
            return False
        self._look_up_at = now + LOOK_UP_S
        found = look_up(self._source)
        if found is None or (self._endpoint is not None and not _is_news(found, self._endpoint)):
            return False
        self._endpoint = found
        if self.transport is not None:
            self.transport.close()
        self.transport = Transport(found)
        self._patience.success()
        self._not_before, self._asked = 0.0, False
        self._on_endpoint(found)
        return True

    def _adopt(self, own: Step) -> None:
        """Between two batches of our own, carry one of an orphan: the past must not hold up the present."""
        if self._directory is None or self._endpoint is None or self.transport is None:
            return
        if own not in (Step.IDLE, Step.MOVED) or not (self.reached or own is Step.IDLE):
            return
        if self._orphan is None:
            if monotonic_s() < self._orphans_at:
                return
            spool = look_for_orphan(self._directory, self._endpoint, self._limits).spool
            if spool is None:
                self._orphans_at = monotonic_s() + LOOK_FOR_ORPHANS_S
                return
            self._orphan = Courier(spool, self._limits, dead_letters=self._directory / "dead")
        carried = self._orphan.carry(self.transport)
        if carried.step is Step.IDLE:
            self._orphan.spool.close()
            self._orphan = None
            return
        self._settle(carried)

    @harmless
    def _finish(self) -> None:
        if self._orphan is not None:
            self._orphan.spool.close()
        if self.transport is not None:
            self.transport.close()
        self.spool.close()
        with self.moved:
            self.moved.notify_all()


def _is_news(found: Endpoint, known: Endpoint) -> bool:
    """Whether to go elsewhere. Where a local server is down for now, the default may be a stranger."""
    if found.origin == "default" and known.origin != "default":
        return False
    return (found.url, found.token) != (known.url, known.token)
