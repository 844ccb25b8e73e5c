"""Where a job may read, write and send: real paths under the allowed roots, hosts in the allowed list."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from etlmon.core.errors import Fault

STDIN = "-"


class NotAllowed(ValueError):
    """A path or host outside of what the worker allows, or a path that cannot be used."""


class Places:
    """The paths of one job. ``cwd`` is the base of relative ones."""

    def __init__(self, cwd: str, roots: Iterable[str] | None) -> None:
        self._cwd = os.path.abspath(cwd or ".")
        self._roots = (
            None if roots is None else tuple(os.path.realpath(os.path.join(self._cwd, root)) for root in roots)
        )

    def resolve(self, path: str) -> Path:
        """The real path, with every ``..`` and symbolic link followed; NotAllowed when it leaves the roots."""
        if not path or "\x00" in path:
            raise NotAllowed("is no path")
        real = os.path.realpath(os.path.join(self._cwd, path))
        if self._roots is None or any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots):
            return Path(real)
        shown = ", ".join(self._roots) or "none"
        raise NotAllowed(f"{path!r} is outside of the directories that the worker allows ({shown})")

    def sources(self, paths: Iterable[str]) -> list[Path]:
        """The files that ``paths`` name, a glob's in name order; NotAllowed when one leaves the roots or is none."""
        found: dict[Path, None] = {}
        for path in paths:
            joined = os.path.join(self._cwd, path)
            self.resolve(_fixed_part(path))
            names = (
                sorted(glob.glob(joined, recursive=True))
                if glob.has_magic(path) and not os.path.exists(joined)
                else [joined]
            )
            files = [self.resolve(name) for name in names if not (glob.has_magic(path) and os.path.isdir(name))]
            if not files:
                raise NotAllowed(f"no file matches {path!r}")
            found |= dict.fromkeys(files)
        for file in found:
            must_be_file(file)
        return list(found)


def _fixed_part(path: str) -> str:
    """The directories before the first glob sign."""
    parts = path.split("/")
    kept = next((parts[:at] for at, part in enumerate(parts) if glob.has_magic(part)), parts)
    return "/".join(kept) or ("/" if path.startswith("/") else ".")


def must_be_file(path: Path) -> None:
    """NotAllowed unless it is a regular file that can be read."""
    try:
        found = path.stat()
    except OSError as fault:
        raise NotAllowed(f"{str(path)!r} cannot be read: {fault.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise NotAllowed(f"{str(path)!r} is not a regular file")
    if not os.access(path, os.R_OK):
        raise NotAllowed(f"{str(path)!r} cannot be read: Permission denied")


def check_target(path: Path) -> None:
    """NotAllowed unless a file can be put there."""
    if path.exists() and not path.is_file():
        raise NotAllowed(f"{str(path)!r} is there and is not a regular file")
    if not path.parent.is_dir():
        raise NotAllowed(f"the directory {str(path.parent)!r} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise NotAllowed(f"the directory {str(path.parent)!r} cannot be written to")


def check_host(url: str, hosts: Iterable[str] | None) -> None:
    """NotAllowed unless the URL's host (or ``host:port``) is one of ``hosts``; None allows any."""
    if hosts is None:
        return
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    allowed = [each.lower().strip("[]") if each.count(":") != 1 else each.lower() for each in hosts]
    if host not in allowed and f"{host}:{port}" not in allowed:
        raise NotAllowed(f"the host {host!r} is not one that the worker allows ({', '.join(allowed) or 'none'})")


def fault_at(path: str, fault: NotAllowed) -> Fault:
    """The fault of a config key."""
    return Fault(path, str(fault))
