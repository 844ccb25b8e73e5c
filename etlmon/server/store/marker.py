"""A small file beside main.db that remembers it: which file it was, how far it had come, and whether it was closed.

It tells a lost store from a first start, and a restored one from the one that went on (which needs a new epoch).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE = "main.marker"


class Marker(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``head`` is a lower bound while the server runs, and exact when ``clean`` (it was closed in order)."""

    epoch: str
    dev: int
    inode: int
    head: int
    clean: bool


UNREADABLE = Marker(epoch="", dev=-1, inode=-1, head=0, clean=False)
"""What is known from a marker that is there but says nothing: only that a store lived here."""


def read_marker(data_dir: Path) -> Marker | None:
    """What was remembered; None when no store ever lived here."""
    try:
        text = (data_dir / FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(text, type=Marker)
    except (msgspec.DecodeError, ValueError):
        return UNREADABLE


def write_marker(data_dir: Path, marker: Marker, *, sync: bool) -> None:
    """Remember, by rename, so that a kill leaves the old one or the new one whole."""
    path, fresh = data_dir / FILE, data_dir / (FILE + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, msgspec.json.encode(marker))
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
    if sync:
        sync_directory(data_dir)


def sync_directory(path: Path) -> None:
    """Make a rename or a new file in ``path`` outlive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
