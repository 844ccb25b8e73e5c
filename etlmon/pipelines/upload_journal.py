"""What an endpoint has confirmed: one line per batch, on disk before the batch counts as confirmed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from etlmon.pipelines.checkpoint import write_whole

FILE = "confirmed.jsonl"
PRUNE_BYTES = 256 * 1024


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """Batch ``n`` was taken, but for the records at the places in ``faults``."""

    n: int
    faults: dict[int, str] = {}


class UploadJournal:
    """Written by several threads. ``known`` are the batches from the checkpoint on that are confirmed."""

    def __init__(self, directory: Path, first: int) -> None:
        self._path = directory / FILE
        self._lock = threading.Lock()
        self.known = {each.n: each for each in _read(self._path) if each.n >= first}
        self._rewrite()

    def _rewrite(self) -> None:
        lines = msgspec.json.Encoder().encode_lines(list(self.known.values()))
        write_whole(self._path, lines)
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by close

    def confirm(self, confirmed: Confirmed) -> None:
        """On disk when this returns."""
        with self._lock:
            self._file.write(msgspec.json.encode(confirmed) + b"\n")
            os.fsync(self._file.fileno())
            self.known[confirmed.n] = confirmed

    def forget(self, first: int) -> None:
        """The checkpoint tells of all batches before ``first``."""
        with self._lock:
            self.known = {n: each for n, each in self.known.items() if n >= first}
            if self._file.tell() > PRUNE_BYTES:
                self._file.close()
                self._rewrite()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _read(path: Path) -> list[Confirmed]:
    """The whole lines; the last may have been cut off by a crash."""
    found = []
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Confirmed))
        except msgspec.DecodeError:
            break
    return found
