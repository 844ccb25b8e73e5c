"""The pipe through which a worker hands an operator's commands to the process that it started (ETLMON_COMMAND_FD).

A command in it waits until a job is open. Without the variable, or in a child of that process, there is no pipe.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from etlmon.sdk.guard import harmless

if TYPE_CHECKING:
    from etlmon.core.reports import CommandItem

VARIABLE: Final = "ETLMON_COMMAND_FD"

_lock = threading.Lock()
_owner: int | None = None
"""The process that reads the pipe."""


def is_open() -> bool:
    """Whether this process is told of commands by its worker."""
    return _owner == os.getpid()


@harmless
def listen(obey: Callable[[CommandItem], None]) -> None:
    """Hand every command to ``obey``, in a thread of ours, from now on. Once per process; without a pipe nothing."""
    global _owner
    with _lock:
        given = os.environ.pop(VARIABLE, "")  # a child has not the descriptor, so it must not see the variable
        if _owner is not None or not given.isascii() or not given.isdigit():
            return
        descriptor = int(given)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return
        os.set_inheritable(descriptor, False)
        _owner = os.getpid()
    threading.Thread(target=_read, args=(descriptor, obey), name="etlmon-commands", daemon=True).start()


@harmless
def _read(descriptor: int, obey: Callable[[CommandItem], None]) -> None:
    import msgspec

    from etlmon.core.reports import CommandItem

    decoder = msgspec.json.Decoder(CommandItem)
    with os.fdopen(descriptor, "rb") as lines:
        for line in lines:
            harmless(lambda line=line: obey(decoder.decode(line)))()
