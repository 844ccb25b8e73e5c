"""A look at every page of main.db while it is in use, which may take seconds and can be broken off."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from etlmon.server.store.opening import check_pages


class Look:
    """``damage`` runs in some thread, one at a time; ``stop`` ends it from another, for good."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._stopped = False

    def damage(self) -> str | None:
        """What is wrong with the file; None when nothing is, or when it was stopped. An error counts as damage."""
        try:
            connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        except sqlite3.Error as fault:
            return str(fault)
        with self._lock:
            self._connection = None if self._stopped else connection
        try:
            if not self._stopped:
                check_pages(connection)
        except sqlite3.DatabaseError as fault:
            return None if self._stopped else str(fault)
        finally:
            with self._lock:
                self._connection = None
            connection.close()
        return None

    def stop(self) -> None:
        """Break off what runs, and let nothing begin."""
        with self._lock:
            self._stopped = True
            if self._connection is not None:
                self._connection.interrupt()
