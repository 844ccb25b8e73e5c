"""One server per data directory: an advisory lock on a file that names its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from etlmon.core.errors import StoreRefused

FILE = "server.lock"


class ServerLock:
    """Held from ``take`` to ``release``; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, data_dir: Path) -> ServerLock:
        """Lock ``data_dir`` for this process; StoreRefused with the holder's pid when another has it."""
        path = data_dir / FILE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreRefused(
                f"Another etlmon server (pid {holder}) uses {data_dir}: stop it, or choose another --data-dir."
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let another server have the directory. The file stays: removing it would let two in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
