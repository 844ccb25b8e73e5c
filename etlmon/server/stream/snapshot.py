"""What a new viewer is shown first: every active job that it selects, at a position from which the stream goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec

from etlmon.core.job import Job
from etlmon.core.protocol import MAX_FRAME_BYTES, SNAPSHOT_PART, Cursor, MessageType
from etlmon.core.views import view
from etlmon.server.stream.groups import Group
from etlmon.server.stream.messages import encode, parts

KEPT_S = 1.0
"""A snapshot is kept this long for those who come while nothing changes: all who reconnect after a restart do."""


class Snapshot(msgspec.Struct, frozen=True):
    """A group's snapshot in parts (``messages``): all that happened up to ``position`` is in it."""

    position: int
    messages: list[bytes]
    begun_at: float


async def build_snapshot(group: Group, jobs: list[Job], cursor: Cursor, now: int, begun_at: float) -> Snapshot:
    """Encode the jobs that ``group`` sees; lets the loop turn between parts."""
    wanted = [job for job in jobs if group.sees(job, now)] if group.selection.jobs else []
    chunks: list[bytes] = []
    for chunk in _chunks(wanted, now):
        chunks.append(chunk)
        await asyncio.sleep(0)
    where = encode(cursor.format())
    messages = []
    for number, chunk in enumerate(chunks, 1):
        more = b"true" if number < len(chunks) else b"false"
        data = b'{"jobs":[%b],"alerts":[],"cursor":%b,"more":%b}' % (chunk, where, more)
        head, tail = parts(MessageType.SNAPSHOT, now, None, data)
        messages.append(head + b"%d" % group.ch + tail)
    return Snapshot(cursor.seq, messages, begun_at)


def _chunks(jobs: list[Job], now: int) -> Iterator[bytes]:
    """The views of ``jobs`` in parts; one empty part when there is no job."""
    held: list[bytes] = []
    n_bytes = 0
    for job in jobs:
        held.append(encode(view(job, now)))
        n_bytes += len(held[-1])
        if len(held) >= SNAPSHOT_PART or n_bytes >= MAX_FRAME_BYTES:
            yield b",".join(held)
            held, n_bytes = [], 0
    if held or not jobs:
        yield b",".join(held)
