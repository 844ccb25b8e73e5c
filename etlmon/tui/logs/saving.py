"""Lines written to a file that was not there. No Textual; run it in a thread."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path

from etlmon.core.instants import format_instant
from etlmon.core.text import clean_name
from etlmon.tui.drawing.figures import local
from etlmon.tui.logs.entry import Entry
from etlmon.tui.logs.rows import plain_line

SLICE = 2_000


def default_path(name: str, now: int, zone: tzinfo | None) -> str:
    """``./orders_nightly-20261123-030742.log``."""
    safe = re.sub(r"[^\w.-]+", "_", clean_name(name)).strip("._") or "logs"
    return f"./{safe[:80]}-{local(now, zone):%Y%m%d-%H%M%S}.log"


def save(path: str, entries: Sequence[Entry], name_of: Callable[[int], str]) -> Path:
    """Write the lines; FileExistsError rather than write over anything. Readable by its owner alone."""
    target = Path(path).expanduser()
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(made, "w", encoding="utf-8", errors="replace") as file:
        for start in range(0, len(entries), SLICE):
            part = entries[start : start + SLICE]
            file.write("".join(plain_line(entry, name_of(entry.lane), format_instant) + "\n" for entry in part))
    return target
