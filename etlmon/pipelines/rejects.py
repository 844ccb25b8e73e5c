"""The rejects: one JSON line per refused record, in the records' order, staged and moved like the output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from etlmon.core.pipeline_shapes import Rejects
from etlmon.pipelines.batch import Reject
from etlmon.pipelines.ends import TooManyRejects
from etlmon.pipelines.staging import StagedFile

RATE_FROM = 1000
"""A rate means little before so many records."""
SURELY_TEXT = msgspec.json.Encoder(enc_hook=str)


class RejectsFile:
    """Counts what it takes, and says when it is too much. ``n`` is without what ``drop_if`` dropped."""

    def __init__(self, config: Rejects, target: Path, key: str) -> None:
        self._config = config
        self.staged = StagedFile(target, key)
        self.n = 0

    def open(self, length: int, n: int) -> None:
        """Begin, or go on after ``length`` bytes with ``n`` rejects counted."""
        self.staged.open(length)
        self.n = n

    def add(self, rejects: Sequence[Reject], *, counted: bool = True) -> None:
        """Take rejects; TooManyRejects at the first beyond ``max``."""
        most = self._config.max
        room = len(rejects) if most is None or not counted else max(0, most + 1 - self.n)
        taken = rejects[:room]
        self.staged.file.write(SURELY_TEXT.encode_lines(taken))
        if not counted:
            return
        self.n += len(taken)
        if most is not None and self.n > most:
            first = taken[-1]
            where = f"line {first.line} of {first.source}"
            raise TooManyRejects(
                f"More than {most} records are refused (rejects.max); the last is {where}: {_why(first)}.",
                f"Look at {self.staged.target.name}: it tells why each record was refused.",
                "Correct the data or the rules, or allow more in rejects.max.",
            )

    def check_rate(self, n_records: int, *, at_end: bool = False) -> None:
        """TooManyRejects when the share of refused records is over ``max_rate``."""
        rate = self._config.max_rate
        if rate is None or not n_records or (n_records < RATE_FROM and not at_end):
            return
        if self.n > rate * n_records:
            raise TooManyRejects(
                f"{self.n} of {n_records} records are refused: more than {rate:.2%} (rejects.max_rate).",
                f"Look at {self.staged.target.name}: it tells why each record was refused.",
                "Correct the data or the rules, or allow more in rejects.max_rate.",
            )

    def place(self) -> None:
        """Put what was refused in place."""
        self.staged.place(append=False)

    def discard(self) -> None:
        """Remove what was staged."""
        self.staged.discard()


def _why(reject: Reject) -> str:
    return f"{reject.column}: {reject.reason}" if reject.column is not None else reject.reason
