"""The checkpoint: one small file in the job's work directory, replaced whole. What it tells of is on disk before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

FILE = "checkpoint.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A source file as it was when it was first opened."""

    path: str
    size: int
    mtime_ns: int
    inode: int


class Checkpoint(msgspec.Struct, kw_only=True):
    """Where a job stands. Mutable: it grows as the job goes on, and is saved now and then.

    ``moving``: all is written and is being put in place. ``key`` is what an upload's batches are told apart by.
    """

    config: str = ""
    sources: tuple[Identity, ...] = ()
    at_source: int = 0
    position: dict[str, int] = {}
    header: tuple[str, ...] = ()
    records_in: int = 0
    records_out: int = 0
    rejected: int = 0
    dropped: int = 0
    sink: dict[str, int] = {}
    rejects: int = 0
    sums: dict[str, str] = {}
    moving: bool = False
    key: str = ""


def digest_of(config: Any) -> str:
    """What tells one config from another."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()


def load(directory: Path) -> Checkpoint | None:
    """The checkpoint of an attempt before; None when there is none that can be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=Checkpoint)
    except (OSError, msgspec.DecodeError):
        return None


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Replace the file; what it names must have been synced before."""
    write_whole(directory / FILE, msgspec.json.encode(checkpoint))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that whoever reads it, after a crash as well, sees the old content or the new."""
    part = path.with_name(path.name + ".new")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in the directory last."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def identity_of(path: Path) -> Identity:
    """The file as it is now."""
    found = path.stat()
    return Identity(path=str(path), size=found.st_size, mtime_ns=found.st_mtime_ns, inode=found.st_ino)


def clear(directory: Path) -> None:
    """Forget where the job stood."""
    (directory / FILE).unlink(missing_ok=True)
