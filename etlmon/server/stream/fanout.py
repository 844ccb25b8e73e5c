"""From committed items to the sockets of live viewers: what is gathered for each group, when its frame goes out, and
the one loop that writes it. It never waits: who cannot take a frame falls behind and is somebody else's care.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from etlmon.server.stream.groups import Group, Groups
from etlmon.server.stream.messages import ChangeEntry, Entry, frames
from etlmon.server.stream.ring import Ring
from etlmon.server.stream.stats import StreamStats
from etlmon.server.stream.subscription import Subscription

logger = logging.getLogger(__name__)

TICK_S = 0.01
"""A busy group's messages are gathered this long (facts, realtime §2.2: 1 µs a delivery at 100,000 a second)."""
REST = 4
MAX_REST_S = 0.25
"""After a frame that took long to write (very many viewers) a group rests this many times as long, at most so long:
fan-out never takes more than a fifth of the loop, and what then comes late comes in fewer, larger frames."""
MAX_DELAYS = 10_000
"""Update delays of one frame that are kept to be counted."""


class Fanout:
    """``head``: all up to here is committed and was offered to every group. ``ring`` keeps the newest of it."""

    def __init__(
        self, head: int, ring_size: int, *, sample_window_ms: int, stats: StreamStats, now: Callable[[], int]
    ) -> None:
        self.head = head
        self.ring = Ring(ring_size, head)
        self.groups = Groups()
        self.sample_window_ms = sample_window_ms
        self.stats = stats
        self._now = now
        self._dirty: dict[Group, None] = {}
        self._flushing: asyncio.Handle | None = None
        self._flush_at = 0.0

    def offer(self, entry: Entry) -> None:
        """Gather what of ``entry`` belongs to each group that somebody watches."""
        for group in self.groups.interested(entry):
            if group.is_watched:
                self._collect(group, entry)

    def _collect(self, group: Group, entry: Entry) -> None:
        box = group.pending
        read_at = entry.change.received_at if type(entry) is ChangeEntry else None
        for sample_of, seq, made in group.messages(entry, 0):
            if not box:
                group.pending_from = max(group.position, self.head)
                self._dirty[group] = None
            box.add(sample_of, made)
            if read_at is not None and len(group.read_at) < MAX_DELAYS:
                group.read_at.append(read_at)
            if box.full:
                self.flush(group, seq)

    def schedule(self) -> None:
        """See to it that every group with something pending is flushed when it is due."""
        if not self._dirty:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = min(self._due(group) for group in self._dirty)
        if self._flushing is not None:
            if self._flush_at <= due or self._flush_at <= now:
                return
            self._flushing.cancel()
        self._flush_at = due
        self._flushing = loop.call_soon(self._flush_due) if due <= now else loop.call_at(due, self._flush_due)

    def _due(self, group: Group) -> float:
        """When the next frame goes out: at once after a pause, else a tick after the last; samples can wait longer."""
        due = group.flushed_at + group.rest_s
        window = self.sample_window_ms
        if window and group.pending.only_samples:
            due = max(due, group.sampled_at + window / 1000)
        return due

    def _flush_due(self) -> None:
        self._flushing = None
        soon = asyncio.get_running_loop().time() + TICK_S / 10
        for group in list(self._dirty):
            if self._due(group) <= soon:
                self.flush(group)
        self.schedule()

    def flush(self, group: Group, end: int | None = None) -> None:
        """Hand what is pending to every live member, as one shared frame; who cannot take it falls behind."""
        self._dirty.pop(group, None)
        if not group.pending:
            return
        reached = self.head if end is None else max(end, group.position)
        had_samples = group.pending.has_samples
        clock = asyncio.get_running_loop().time
        begun_at = clock()
        late = self._write(group, group.pending.take(), reached)
        group.flushed_at = clock()
        group.rest_s = max(TICK_S, min(MAX_REST_S, REST * (group.flushed_at - begun_at)))
        if had_samples:
            group.sampled_at = group.flushed_at
        if group.read_at:
            self._observe_delays(group)
        for subscription in late:
            self.stats.n_fell_behind += 1
            group.drop(subscription)
            subscription.session.fall_behind(subscription)

    def _write(self, group: Group, messages: list[bytes], reached: int) -> list[Subscription]:
        """Write to the members, and move the group to ``reached``; those left out are returned, at their old place."""
        start, late = group.position, list[Subscription]()
        for batch in (False, True):
            members = group.members[batch]
            if not members:
                continue
            frame, n_late = frames(messages, batch=batch), len(late)
            for member in members:  # the hot loop: 100,000 turns a second when 100 viewers watch 1,000 changes
                session = member.session
                if session.protocol.writing_paused or member.cursor != start:
                    late.append(member)
                else:
                    session.transport.write(frame)
                    member.cursor = reached
            n_written = len(members) - len(late) + n_late
            self.stats.n_frames += n_written
            self.stats.n_bytes += n_written * len(frame)
        for member in late:
            if member.cursor == start:
                member.cursor = group.pending_from
            else:
                self.stats.n_misplaced += 1
                logger.error("A live member was not where its group was", extra={"action": "member_misplaced"})
        group.position = reached
        return late

    def _observe_delays(self, group: Group) -> None:
        now = self._now()
        for read_at in group.read_at:
            self.stats.update_delay.observe(max(0, now - read_at) / 1000)
        group.read_at.clear()

    def close(self) -> None:
        """Send what is pending; nothing is sent by itself from here on."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        for group in list(self._dirty):
            self.flush(group)
