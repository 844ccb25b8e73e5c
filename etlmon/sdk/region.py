"""What one batch is made of: the records chosen from a stretch of a segment. Pure bytes, no files."""

from __future__ import annotations

import msgspec

from etlmon.core.instants import format_instant
from etlmon.sdk.frames import LOG, read_frames
from etlmon.sdk.losses import subject_of


class Region(msgspec.Struct, frozen=True):
    """What lies in the bytes of one batch: the records chosen, those left out as too old, and the damage between."""

    raw: bytes
    payloads: tuple[bytes, ...] = ()
    ends: tuple[int, ...] = ()
    """Where in ``raw`` each chosen record ends."""
    too_old: tuple[bytes, ...] = ()
    horizon: int = 0
    damaged: int = 0


def choose(data: bytes, horizon: int, max_reports: int, max_bytes: int) -> Region:
    """As many whole records from the head of ``data`` as one batch takes, without log lines from before ``horizon``."""
    payloads: list[bytes] = []
    ends: list[int] = []
    too_old: list[bytes] = []
    size = damaged = at = 0
    limit = format_instant(horizon) if horizon else ""
    for kind, payload, start, end in read_frames(data):
        if payloads and (len(payloads) >= max_reports or size + len(payload) > max_bytes):
            break
        damaged += start != at
        at = end
        if limit and kind == LOG and subject_of(payload).at < limit:
            too_old.append(payload)
            continue
        payloads.append(payload)
        ends.append(end)
        size += len(payload) + 1
    return Region(data[:at], tuple(payloads), tuple(ends), tuple(too_old), horizon if too_old else 0, damaged)
