"""Whose turn it is to use the writing connection: one thread at a time, appends before everything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turn:
    """A lock with two doors. Who comes by ``first`` waits for the one inside only, who comes by ``later`` for all."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._busy = False
        self._waiting = 0

    @contextmanager
    def first(self) -> Iterator[None]:
        """For appends: a producer waits for the answer."""
        with self._free:
            self._waiting += 1
            while self._busy:
                self._free.wait()
            self._waiting -= 1
            self._busy = True
        with self._inside():
            yield

    @contextmanager
    def later(self) -> Iterator[None]:
        """For compaction, checkpoints and sealing: nobody waits for them."""
        with self._free:
            while self._busy or self._waiting:
                self._free.wait()
            self._busy = True
        with self._inside():
            yield

    @contextmanager
    def _inside(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._free:
                self._busy = False
                self._free.notify_all()
