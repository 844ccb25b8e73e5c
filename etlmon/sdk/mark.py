"""A spool's mark: who writes it and for whom, how far it is delivered, and (by its lock) whether its owner lives.

One small file of fixed size beside the segments. It is written in place, in two alternating slots, so that a process
killed at any instruction leaves at least one whole slot.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4
from zlib import crc32

import msgspec

VERSION: Final = 1
MAGIC: Final = b"ETLSPOOL"
SUFFIX: Final = ".mark"
SIZE: Final = 4096
_PREFIX: Final = struct.Struct("<8sHxxII")
_HEADER_ROOM: Final = 3072
_SLOT_AT: Final = (3072, 3584)
_SLOT: Final = struct.Struct("<QQ16sQQQQIII?32H")
HISTORY: Final = 32
"""How many of the last batches' sizes are kept, to say how many reports a server that lost its store has lost."""


class MarkUnreadable(Exception):
    """The file is not a mark, or it is damaged beyond use."""


class MarkTooNew(Exception):
    """A later etlmon wrote it."""


class Header(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whose reports these are. ``key`` names the server they are meant for; of the token only its SHA-256 is kept."""

    key: str
    url: str
    fingerprint: str
    source: str = "sdk"
    host: str = ""
    pid: int = 0
    created_at: int = 0


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """The newest batch: bytes ``start`` to ``end`` of a segment went out, or will, as ``seq`` of ``producer``.

    Everything before ``start`` is acknowledged. ``n`` 0 means that everything before ``end`` is. ``in_memory``: it was
    never on disk, so it cannot be sent again. ``horizon`` (ms): log lines from before it were left out as too old.
    """

    producer: str
    seq: int = 0
    segment: int = 1
    start: int = 0
    end: int = 0
    n: int = 0
    crc: int = 0
    horizon: int = 0
    in_memory: bool = False
    sizes: tuple[int, ...] = ()


def _pack_cut(generation: int, cut: Cut) -> bytes:
    sizes = (cut.sizes + (0,) * HISTORY)[:HISTORY]
    body = _SLOT.pack(
        generation,
        cut.seq,
        UUID(cut.producer).bytes,
        cut.segment,
        cut.start,
        cut.end,
        cut.horizon,
        cut.n,
        cut.crc,
        len(cut.sizes),
        cut.in_memory,
        *sizes,
    )
    return body + crc32(body).to_bytes(4, "little")


def _unpack_cut(raw: bytes) -> tuple[int, Cut] | None:
    body, crc = raw[: _SLOT.size], raw[_SLOT.size : _SLOT.size + 4]
    if len(crc) < 4 or crc32(body).to_bytes(4, "little") != crc:
        return None
    generation, seq, producer, segment, start, end, horizon, n, batch_crc, known, in_memory, *sizes = _SLOT.unpack(body)
    cut = Cut(
        producer=str(UUID(bytes=producer)),
        seq=seq,
        segment=segment,
        start=start,
        end=end,
        n=n,
        crc=batch_crc,
        horizon=horizon,
        in_memory=in_memory,
        sizes=tuple(sizes[:known]),
    )
    return generation, cut


def _read_header(raw: bytes) -> Header:
    if len(raw) < _PREFIX.size:
        raise MarkUnreadable("it is shorter than its header")
    magic, version, length, crc = _PREFIX.unpack_from(raw)
    if magic != MAGIC:
        raise MarkUnreadable("it does not begin as a mark does")
    if version > VERSION:
        raise MarkTooNew(f"its version is {version}; this etlmon reads up to {VERSION}")
    text = raw[_PREFIX.size : _PREFIX.size + length]
    if len(text) < length or crc32(text) != crc:
        raise MarkUnreadable("its header is damaged")
    try:
        return msgspec.json.decode(text, type=Header)
    except msgspec.DecodeError as fault:
        raise MarkUnreadable(f"its header makes no sense: {fault}") from fault


class Mark:
    """An open, locked mark. ``close`` lets the lock go, and so does the death of the process."""

    def __init__(self, path: Path, fd: int, header: Header, generation: int, cut: Cut) -> None:
        self.path = path
        self.header = header
        self.cut = cut
        self._fd = fd
        self._generation = generation

    @property
    def stem(self) -> str:
        """What the names of this spool's files begin with."""
        return self.path.name.removesuffix(SUFFIX)

    @classmethod
    def create(cls, directory: Path, header: Header, producer: str) -> Mark:
        """A new mark, locked before anyone else can see it. OSError when the directory does not allow it."""
        path = directory / f"{producer}{SUFFIX}"
        hidden = directory / f".{producer}.new"
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(fd, bytes(SIZE), 0)  # the blocks exist from now on: a full disk cannot refuse a slot
            mark = cls(path, fd, header, 0, Cut(producer=producer))
            mark.write_header(header)
            mark.write_cut(mark.cut)
            os.rename(hidden, path)
        except BaseException:
            os.close(fd)
            hidden.unlink(missing_ok=True)
            raise
        return mark

    @classmethod
    def adopt(cls, path: Path) -> Mark | None:
        """The mark of a dead owner, now ours; None while its owner (or another heir) holds it, or when it is gone.

        MarkUnreadable and MarkTooNew when nothing can be done with it.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            if not _lock(fd) or not _same_file(path, fd):
                os.close(fd)
                return None
            raw = os.pread(fd, SIZE, 0)
            header = _read_header(raw)
            slots = [slot for at in _SLOT_AT if (slot := _unpack_cut(raw[at : at + 512])) is not None]
            if not slots:
                raise MarkUnreadable("both of its slots are damaged")
            generation, cut = max(slots, key=lambda slot: slot[0])
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, header, generation, cut)

    def write_header(self, header: Header) -> None:
        """Say anew for whom this spool is (a token was rotated, a server appeared)."""
        text = msgspec.json.encode(header)
        if _PREFIX.size + len(text) > _HEADER_ROOM:
            raise OSError(f"the header of {self.path.name} does not fit")
        os.pwrite(self._fd, _PREFIX.pack(MAGIC, VERSION, len(text), crc32(text)) + text, 0)
        self.header = header

    def write_cut(self, cut: Cut) -> None:
        """Set the newest batch down, before it is sent for the first time."""
        self.cut = cut
        self._generation += 1
        os.pwrite(self._fd, _pack_cut(self._generation, cut), _SLOT_AT[self._generation % 2])

    def remove(self) -> None:
        """Take the file away and let the lock go: everything is delivered."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let the lock go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def new_producer() -> str:
    """The id of a fresh producer."""
    return str(uuid4())


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(path: Path, fd: int) -> bool:
    """Whether ``path`` is still the file behind ``fd``: another heir may have delivered and removed it meanwhile."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)
