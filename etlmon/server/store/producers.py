"""How far each agent's process was taken: the mark that makes a repeated batch change nothing."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict

import msgspec

FIND = "SELECT id, token_id, seq, hash, at, receipt FROM producer WHERE id = ?"
"""One producer's mark."""
PUT = """
INSERT INTO producer (id, token_id, seq, hash, at, receipt) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    token_id = excluded.token_id, seq = excluded.seq, hash = excluded.hash, at = excluded.at, receipt = excluded.receipt
"""
"""The newest mark of a producer."""
PRUNE = "DELETE FROM producer WHERE id IN (SELECT id FROM producer WHERE at < ? ORDER BY at LIMIT ?)"
"""Producers that were silent for longer than any spool is kept."""
CACHED = 4096


class ProducerMark(msgspec.Struct, frozen=True, kw_only=True):
    """The last batch of a producer that was committed: its ``seq``, its content's hash and what was answered."""

    id: str
    token_id: str | None
    seq: int
    hash: bytes
    at: int
    receipt: bytes = b""


def mark_of(row: tuple[object, ...]) -> ProducerMark:
    """A row of ``FIND``."""
    return ProducerMark(**dict(zip(ProducerMark.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


class MarkCache:
    """Committed marks, most recently used last. Used by the writer's thread alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._kept: OrderedDict[str, ProducerMark] = OrderedDict()

    def get(self, producer_id: str) -> ProducerMark | None:
        """The mark as committed; None for a producer never heard of."""
        mark = self._kept.get(producer_id)
        if mark is None:
            row = self._db.execute(FIND, (producer_id,)).fetchone()
            if row is None:
                return None
            mark = mark_of(row)
        self.put(mark)
        return mark

    def put(self, mark: ProducerMark) -> None:
        """Keep what was just committed or read."""
        self._kept[mark.id] = mark
        self._kept.move_to_end(mark.id)
        while len(self._kept) > CACHED:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Rows went: read anew."""
        self._kept.clear()
