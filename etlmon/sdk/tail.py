"""Reports held in memory, in bounded room: where no directory can be had, and while a disk is full."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from etlmon.sdk.frames import LOG, SAMPLE, STATE

MEGABYTE: Final = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a spool. Log lines are refused when only the reserve is left, samples when half of it is."""

    max_bytes: int = 256 * MEGABYTE
    reserve_bytes: int = 16 * MEGABYTE
    memory_bytes: int = 10 * MEGABYTE
    segment_bytes: int = 4 * MEGABYTE
    max_age_ms: int = 7 * 86_400_000
    batch_reports: int = 500
    batch_bytes: int = 256 * 1024


class Batch(msgspec.Struct, frozen=True):
    """What is sent under one ``seq``. ``missing`` of its reports were once sent under it and can no longer be read."""

    producer: str
    seq: int
    payloads: tuple[bytes, ...]
    missing: int = 0


class Tail:
    """Reports in order, in at most ``room`` bytes: log lines leave room for samples, and those for states."""

    def __init__(self, room: int) -> None:
        self._room = {LOG: room * 8 // 10, SAMPLE: room * 9 // 10, STATE: room}
        self._bytes = 0
        self._items: deque[tuple[int, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def append(self, kind: int, payload: bytes) -> bool:
        """Hold ``payload``; False when there is no room for its kind."""
        if self._bytes + len(payload) > self._room[kind]:
            return False
        self._items.append((kind, payload))
        self._bytes += len(payload)
        return True

    def peek(self) -> tuple[int, bytes]:
        """The oldest report; it stays."""
        return self._items[0]

    def first(self, max_reports: int, max_bytes: int) -> tuple[bytes, ...]:
        """The oldest reports, as many as one batch takes; they stay."""
        chosen: list[bytes] = []
        size = 0
        for _, payload in self._items:
            if chosen and (len(chosen) >= max_reports or size + len(payload) > max_bytes):
                break
            chosen.append(payload)
            size += len(payload)
        return tuple(chosen)

    def drop(self, n: int) -> None:
        """Let the oldest ``n`` go."""
        for _ in range(n):
            self._bytes -= len(self._items.popleft()[1])
