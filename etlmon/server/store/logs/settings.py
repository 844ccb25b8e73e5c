"""The sizes and times that the log store keeps to, and what it tells of itself."""

from __future__ import annotations

import msgspec


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes and milliseconds; the first three are the operator's, the rest are tuned by ``bench/logs_store.py``."""

    max_bytes: int = 10_000_000_000
    """All day files together; the oldest go first. At least two files are needed to keep to it."""
    retention_ms: int = 30 * 86_400_000
    """A file goes when its newest line came longer ago than this."""
    roll_bytes: int = 2_000_000_000
    """A day file larger than this is sealed and the day goes on in the next."""
    round_bytes: int = 8_000_000
    """Uncompacted text that starts a round of compaction."""
    round_blocks: int = 512
    """Uncompacted blocks that start one, however small: each costs a reader some microseconds, and a round unpacks
    them all (2048 blocks of a trickle of short lines: 12 MB that the process never gives back)."""
    chunk_bytes: int = 65_536
    """Text of one job that makes one chunk."""
    backlog_bytes: int = 24_000_000
    """Uncompacted text at which an append waits for compaction, for at most ``backlog_wait_ms``."""
    backlog_wait_ms: int = 2_000
    slice_ms: int = 15
    """How long a slice of compaction may keep an append waiting."""
    page_ms: int = 1_000
    """How long one page may be searched for before it is returned short."""
    page_bytes: int = 8_000_000
    """Text at which a page is returned short."""
    recent_bytes: int = 4_000_000
    """Text of the newest lines that stays in memory, for streams that follow closely."""
    checkpoint_bytes: int = 8_000_000
    """Write-ahead log that is folded into the file when no append waits."""
    readers: int = 3
    """Threads that read."""

    @property
    def file_bytes(self) -> int:
        """The size at which a day file is sealed: small enough that dropping one is a small part of the whole."""
        return max(1, min(self.roll_bytes, self.max_bytes // 8))


class LogStats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the log store holds. ``set_aside``: files that could not be read; ``damaged``: bodies that could not."""

    files: int
    bytes: int
    lines: int
    uncompacted: int
    oldest_seq: int
    set_aside: int
    damaged: int


class BlockRef(msgspec.Struct, frozen=True):
    """An append that is on disk: which file, and the block in it (its first ``seq``). ``n`` lines."""

    file: str
    block: int
    first_seq: int
    last_seq: int
    n: int
