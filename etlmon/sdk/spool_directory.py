"""Whether a directory may hold spools: its own user's, closed to others, and no way to somewhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def unusable(directory: Path) -> str | None:
    """Make ``directory`` if need be (0700); why it must not be used, or None. OSError when it cannot be made."""
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # most often the data directory: private too
        directory.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(directory)
    if stat.S_ISLNK(found.st_mode):
        return f"{directory} is a symbolic link"
    if not stat.S_ISDIR(found.st_mode):
        return f"{directory} is not a directory"
    if found.st_uid != os.geteuid():
        return f"{directory} belongs to another user"
    if found.st_mode & 0o022:
        return f"{directory} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{directory} cannot be written"
    return None
