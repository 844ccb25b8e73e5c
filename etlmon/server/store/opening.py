"""Opening main.db safely: who may, what it must be, and which epoch its numbers belong to.

Every refusal is StoreRefused with the next step. Nothing here runs on the event loop.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import struct
from pathlib import Path
from urllib.parse import quote

import msgspec

from etlmon.core.errors import StoreRefused
from etlmon.server.store import migrations
from etlmon.server.store.ballast import Ballast
from etlmon.server.store.lock import ServerLock
from etlmon.server.store.marker import FILE as MARKER_FILE
from etlmon.server.store.marker import Marker, read_marker, sync_directory, write_marker
from etlmon.server.store.trouble import is_full

log = logging.getLogger(__name__)

FILE = "main.db"
APPLICATION_ID = 0x65746C6D
"""``etlm``: in the file's header, so that another program's database is never taken for ours."""
OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""
MAGIC = b"SQLite format 3\x00"
CHECKED_BYTES = 64 << 20
"""Up to this size the file is checked before it is used (0.1 s); a larger one after an unclean stop, while in use."""
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs"})
"""Where file locks and shared memory do not hold, so that WAL may corrupt the file (sqlite.org/wal.html)."""
WRITER_PRAGMAS = (
    "busy_timeout = 5000",
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 0",
    "journal_size_limit = 67108864",
    "cache_size = -16384",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
    "secure_delete = OFF",
)


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What ``open_main`` found: the writer's connection, the lock, and where the numbers stand."""

    connection: sqlite3.Connection
    lock: ServerLock
    path: Path
    epoch: str
    head: int
    oldest: int
    unchecked: bool
    restored: bool


def open_main(data_dir: Path, *, checked_bytes: int = CHECKED_BYTES, ballast: Ballast | None = None) -> Opened:
    """Open or create ``main.db`` in ``data_dir``; StoreRefused when it must not be used as it is.

    On a disk so full that not even that goes, the ``ballast`` is given up for it.
    """
    require_sqlite(sqlite3.sqlite_version_info)
    prepare_directory(data_dir)
    lock = ServerLock.take(data_dir)
    try:
        try:
            return _open_locked(data_dir, lock, checked_bytes)
        except sqlite3.Error as fault:
            if not is_full(fault, data_dir) or ballast is None or not ballast.held:
                raise
            ballast.release()
            return _open_locked(data_dir, lock, checked_bytes)
    except sqlite3.Error as fault:
        lock.release()
        raise refused(data_dir / FILE, fault) from None
    except BaseException:
        lock.release()
        raise


def require_sqlite(version: tuple[int, ...]) -> None:
    """Refuse an SQLite without STRICT tables."""
    if version < OLDEST_SQLITE:
        found, needed = ".".join(map(str, version)), ".".join(map(str, OLDEST_SQLITE[:2]))
        raise StoreRefused(
            f"This Python uses SQLite {found}, and etlmon needs {needed} or newer: "
            "use another Python build (python.org and uv's builds bring a recent one)."
        )


def prepare_directory(data_dir: Path) -> None:
    """Make the data directory (0700) and refuse one that others can read or that a store must not lie in."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = data_dir.stat()
        if status.st_uid == os.getuid() and status.st_mode & 0o077:
            data_dir.chmod(0o700)
    except OSError as fault:
        raise StoreRefused(
            f"The data directory {data_dir} cannot be used ({fault.strerror}): choose another with --data-dir."
        ) from None
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise StoreRefused(
            f"The data directory {data_dir} is not writable: change its owner, or choose another with --data-dir."
        )
    kind = file_system(data_dir)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreRefused(
            f"The data directory {data_dir} lies on a network file system ({kind}), where SQLite files get corrupted: "
            "choose one on a local disk with --data-dir."
        )


def file_system(path: Path) -> str | None:
    """The type of the file system that ``path`` lies on; None where the kernel does not say."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place, found = f"{path.resolve()}/", ("", "")
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ").rstrip("/") + "/"
        if place.startswith(point) and len(point) >= len(found[0]):
            found = (point, right.split()[0])
    return found[1] or None


def _open_locked(data_dir: Path, lock: ServerLock, checked_bytes: int) -> Opened:
    path, marker = data_dir / FILE, read_marker(data_dir)
    if path.exists():
        check_header(path)
        _refuse_foreign_wal(path, marker)
    else:
        _refuse_lost(path, marker)
        _create(path)
    connection = connect_writer(path)
    try:
        small = path.stat().st_size <= checked_bytes
        if small:
            check_pages(connection)
        migrations.migrate(connection)
        epoch, head, oldest, restored = _settle_epoch(connection, path, marker)
    except BaseException:
        connection.close()
        raise
    unchecked = not small and not (marker is not None and marker.clean)
    return Opened(
        connection=connection,
        lock=lock,
        path=path,
        epoch=epoch,
        head=head,
        oldest=oldest,
        unchecked=unchecked,
        restored=restored,
    )


def check_header(path: Path) -> None:
    """Refuse what is not our file, from its first 100 bytes (sqlite.org/fileformat2.html §1.3)."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as fault:
        raise StoreRefused(f"{path} cannot be read ({fault.strerror}): change its owner or mode.") from None
    if not header:
        raise StoreRefused(
            f"{path} is empty, so what it held is lost: put a backup in its place, "
            f"or move it and {MARKER_FILE} away to begin with an empty store."
        )
    if len(header) < 100 or not header.startswith(MAGIC):
        raise StoreRefused(f"{path} is not an SQLite database: put a backup in its place, or move it away.")
    version, application = struct.unpack_from(">I", header, 60)[0], struct.unpack_from(">I", header, 68)[0]
    if application != APPLICATION_ID:
        raise StoreRefused(f"{path} belongs to another program: move it away, or choose another --data-dir.")
    if version > migrations.newest():
        raise _newer(path, version)


def _newer(path: Path, version: int) -> StoreRefused:
    return StoreRefused(
        f"{path} has schema {version}, and this etlmon knows schemas up to {migrations.newest()}: "
        "install the newer etlmon that wrote it, or restore the backup made before the upgrade."
    )


def _refuse_lost(path: Path, marker: Marker | None) -> None:
    if marker is not None:
        raise StoreRefused(
            f"{path} is missing, though a store was kept here: put it or a backup back, "
            f"or remove {path.parent / MARKER_FILE} to begin with an empty store."
        )
    wal = path.with_name(FILE + "-wal")
    if wal.exists() and wal.stat().st_size > 0:
        raise StoreRefused(f"{path} is missing, but {wal} is there: put the database back beside it, or move it away.")


def _refuse_foreign_wal(path: Path, marker: Marker | None) -> None:
    """A write-ahead log must meet its own file only: over a restored one it would be replayed blindly."""
    if marker is None or marker.inode == -1:
        return
    status, wal = path.stat(), path.with_name(FILE + "-wal")
    replaced = (status.st_dev, status.st_ino) != (marker.dev, marker.inode)
    if replaced and wal.exists() and wal.stat().st_size > 0:
        raise StoreRefused(
            f"{path} was replaced, but {wal} belongs to the file before it: "
            f"move {wal.name} and {FILE}-shm away, then start again."
        )


def _create(path: Path) -> None:
    """A new store, complete before it gets its name: a kill leaves none or a whole one."""
    fresh = path.with_name(FILE + ".new")
    for stale in (fresh, fresh.with_name(fresh.name + "-wal"), fresh.with_name(fresh.name + "-shm")):
        stale.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode = WAL")
            migrations.migrate(connection)
            connection.execute("INSERT INTO meta (key, value) VALUES ('epoch', ?)", (new_epoch(),))
        finally:
            connection.close()
    except sqlite3.Error:
        fresh.unlink(missing_ok=True)
        raise
    os.replace(fresh, path)
    sync_directory(path.parent)


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints. It is used by one thread at a time."""
    path.chmod(0o600)
    uri = f"file:{quote(str(path.resolve()))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        for pragma in WRITER_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    if version > migrations.newest():
        connection.close()
        raise _newer(path, version)
    return connection


def check_pages(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError when a page of the file is damaged."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)").fetchall()]
    if found != ["ok"]:
        raise sqlite3.DatabaseError("; ".join(found)[:300])


def refused(path: Path, fault: sqlite3.Error) -> StoreRefused:
    """What a person can do about an error met while opening."""
    code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreRefused(
            f"{path} is locked by another process: stop what uses it (try: fuser {path}), then start again."
        )
    if is_full(fault, path.parent):
        return StoreRefused(f"The disk of {path} is full: free some space, then start again.")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreRefused(
            f"{path} is damaged ({fault}): move it and its -wal and -shm away and put a backup in its place; "
            f"to save what is left, run: sqlite3 {FILE} .recover | sqlite3 {FILE}.saved"
        )
    return StoreRefused(f"{path} cannot be opened ({fault}): see that the disk works and that the file is yours.")


def new_epoch() -> str:
    """A name for one line of history; cursors of another are refused."""
    return secrets.token_hex(4)


def _settle_epoch(connection: sqlite3.Connection, path: Path, marker: Marker | None) -> tuple[str, int, int, bool]:
    """The epoch, head and oldest cursor; a new epoch when the file is not the one that went on (a backup, a copy)."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    epoch, head, oldest = str(meta["epoch"]), int(meta["head"]), int(meta["oldest"])
    status = path.stat()
    restored = bool(meta.get("restored")) or is_restored(marker, epoch, head, status)
    if restored:
        epoch = new_epoch()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))
        connection.execute("DELETE FROM meta WHERE key = 'restored'")
        connection.execute("COMMIT")
        log.warning(
            "The store was restored or moved: it begins a new epoch.", extra={"action": "epoch", "epoch": epoch}
        )
    fresh = Marker(epoch=epoch, dev=status.st_dev, inode=status.st_ino, head=head, clean=False)
    try:
        write_marker(path.parent, fresh, sync=True)
    except OSError as fault:
        log.warning("The marker file cannot be written.", extra={"action": "marker", "why": str(fault)})
    return epoch, head, oldest, restored


def is_restored(marker: Marker | None, epoch: str, head: int, status: os.stat_result) -> bool:
    """Whether this file is another, or an older, than the one remembered."""
    if marker is None:
        # The first start, or the marker was removed: only a store without history may keep its epoch.
        return head > 0
    if marker.epoch != epoch or (marker.dev, marker.inode) != (status.st_dev, status.st_ino):
        return True
    return head != marker.head if marker.clean else head < marker.head


def mark_restored(path: Path) -> None:
    """Mark a copy of main.db (a backup) so that it begins a new epoch when it is opened as the store."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('restored', 1)")
    finally:
        connection.close()
