"""What is known of a peer's life: when it was heard, whether it takes what it is given, how fast it talks."""

from __future__ import annotations

MESSAGES_PER_S = 50.0
MESSAGES_AT_ONCE = 200.0
"""How fast a client may talk (a token bucket); beyond it is cut with ``CloseCode.TOO_MANY_MESSAGES``."""


class Pulse:
    """All instants are monotonic seconds, given by the caller. ``latency_ms``: of the last ping that was answered."""

    __slots__ = (
        "_allowance",
        "_beat_at",
        "_heard_at",
        "_pinged_at",
        "_pongs_due",
        "_taken",
        "_taken_at",
        "latency_ms",
    )

    def __init__(self, now: float, heartbeat_s: float) -> None:
        self.latency_ms: float | None = None
        self._allowance = MESSAGES_AT_ONCE
        self._beat_at = now + heartbeat_s
        self._heard_at = self._taken_at = now
        self._pinged_at: float | None = None
        self._pongs_due = 0
        self._taken = 0

    def hear(self, now: float, *, is_pong: bool) -> bool:
        """A message came; whether the peer may talk this fast. Pongs that were asked for cost it nothing."""
        passed, self._heard_at = now - self._heard_at, now
        self._allowance = min(MESSAGES_AT_ONCE, self._allowance + passed * MESSAGES_PER_S)
        if is_pong and self._pongs_due > 0:
            self._pongs_due -= 1
            return True
        self._allowance -= 1.0
        return self._allowance >= 0.0

    def pinged(self, now: float | None = None) -> None:
        """A ping went out; ``now`` when it is the heartbeat's, whose answer is timed."""
        self._pongs_due += 1
        if now is not None:
            self._pinged_at = now

    def answered(self) -> None:
        """The heartbeat's ping was answered by what was heard last."""
        if self._pinged_at is not None:
            self.latency_ms = round((self._heard_at - self._pinged_at) * 1000, 3)
            self._pinged_at = None

    def is_stalled(self, now: float, taken: int, limit_s: float) -> bool:
        """Whether a peer whose buffer is full has taken nothing for so long; ``taken`` counts its bytes."""
        if taken != self._taken:
            self._taken = taken
            self._taken_at = now
            self._pinged_at = None  # who takes, lives
        return now - self._taken_at >= limit_s

    def is_silent(self, now: float, heartbeat_s: float) -> bool:
        """Whether nothing was heard since the last ping, for half a heartbeat (facts, reliability F18)."""
        pinged_at = self._pinged_at
        return pinged_at is not None and self._heard_at < pinged_at and now - pinged_at >= heartbeat_s / 2

    def is_due(self, now: float, heartbeat_s: float) -> bool:
        """Whether it is time for a heartbeat; the next is then due one interval later."""
        if now < self._beat_at:
            return False
        self._beat_at = now + heartbeat_s
        return True
