"""How often one token or address may ask: token buckets in memory. Loopback is not limited (interface.md, Config)."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

from etlmon.core.errors import TooManyRequests

MAX_KEYS = 10_000
"""Buckets kept; the least recently used is forgotten first, which can only be lenient."""


class Buckets:
    """A token bucket per key: ``rate`` per second, ``burst`` at once."""

    def __init__(self, rate: float, burst: float, monotonic: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = burst
        self._monotonic = monotonic
        self._level: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Seconds until ``key`` may go on; 0.0 when it may now. Takes nothing."""
        level = self._now(key)
        return 0.0 if level >= 1.0 - 1e-6 else (1.0 - level) / self.rate

    def take(self, key: str) -> None:
        """Take one from the bucket of ``key``."""
        self._level[key] = (max(0.0, self._now(key) - 1.0), self._monotonic())
        self._level.move_to_end(key)
        if len(self._level) > MAX_KEYS:
            self._level.popitem(last=False)

    def _now(self, key: str) -> float:
        known = self._level.get(key)
        if known is None:
            return self.burst
        level, at = known
        return min(self.burst, level + (self._monotonic() - at) * self.rate)


class Limits:
    """The server's limits: requests per token, and refused tokens per address."""

    def __init__(
        self, *, per_token_s: float, burst: float, failures_per_minute: int, monotonic: Callable[[], float]
    ) -> None:
        self._requests = Buckets(per_token_s, burst, monotonic)
        self._failures = Buckets(failures_per_minute / 60, failures_per_minute, monotonic)
        self.n_limited = 0

    def admit(self, token_id: str | None, address: str) -> None:
        """Count one request of a known token; TooManyRequests when it asks too fast."""
        if is_loopback(address):
            return
        self._check(self._requests, token_id or address, "This token asks too often")
        self._requests.take(token_id or address)

    def check_failures(self, address: str) -> None:
        """TooManyRequests when too many refused tokens came from ``address`` of late; asked only after a refusal."""
        if not is_loopback(address):
            self._check(self._failures, address, "Too many refused tokens came from this address")
            self._failures.take(address)

    def _check(self, buckets: Buckets, key: str, why: str) -> None:
        wait = buckets.wait_s(key)
        if wait > 0:
            self.n_limited += 1
            raise TooManyRequests(f"{why}: try again in {max(1, round(wait))} s.", retry_after_s=wait)


@lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own (a Unix socket's empty name is)."""
    if not address:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
