"""What ``etlmon doctor`` looks at. Each check is a function that gives findings and raises nothing of its own."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core import errors
from etlmon.core.durations import format_duration, format_size

if TYPE_CHECKING:
    from etlmon.commands.context import Context
    from etlmon.commands.output import Look

SKEW_S = 5.0
"""A clock this far from the server's is worth a warning (its Date header is exact to a second)."""
LOW_DISK = 0.05
OLD_SPOOL_S = 3600.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor: ``state`` is ok, warn or fail; ``next_step`` what a person can do."""

    check: str
    state: str
    detail: str
    next_step: str | None = None

    def shown(self) -> dict[str, Any]:
        """As a record to print."""
        return {"check": self.check, "state": self.state, "detail": self.detail, "next": self.next_step}


def ok(check: str, detail: str) -> Finding:
    """All is well there."""
    return Finding(check=check, state="ok", detail=detail)


def warn(check: str, detail: str, next_step: str) -> Finding:
    """It works, but not as it should."""
    return Finding(check=check, state="warn", detail=detail, next_step=next_step)


def fail(check: str, detail: str, next_step: str | None = None) -> Finding:
    """It does not work; a ``detail`` that says what to do needs no next step."""
    return Finding(check=check, state="fail", detail=detail, next_step=next_step)


def examine(context: Context, look: Look) -> Iterator[Finding]:
    """Every check, in the order in which a person would look."""
    checks: tuple[Callable[[Context, Look], Iterator[Finding]], ...] = (
        check_server,
        check_config,
        check_data_dir,
        check_spools,
        check_sqlite,
        check_terminal,
    )
    for check in checks:
        yield from check(context, look)


def check_server(context: Context, look: Look) -> Iterator[Finding]:
    """Whether a server answers, how it does, its version, the token, the live connection, the clocks."""
    try:
        client = context.client()
        health = client.get("/api/health", accept=(503,))
    except errors.EtlmonError as error:
        yield fail("server", error.detail)
        return
    state = health.get("status")
    detail = f"{client.url} (from {client.endpoint.origin}) says {state}"
    trouble = [f"{name}: {why}" for name, why in (health.get("checks") or {}).items() if why != "ok"]
    if state == "ok":
        yield ok("server", detail)
    else:
        yield warn("server", f"{detail}: {'; '.join(trouble)}", "see `etlmon health --system` and the server's log")
    yield _version(str(health.get("version")))
    yield _clocks(client.server_at)
    yield from _token(context)


def _version(theirs: str) -> Finding:
    from etlmon import __version__

    if theirs == __version__:
        return ok("version", f"server and command line are {theirs}")
    return warn("version", f"the server is {theirs}, this command line {__version__}", "install the same on both sides")


def _clocks(server_date: str | None) -> Finding:
    try:
        there = parsedate_to_datetime(server_date or "").timestamp()
    except (TypeError, ValueError):
        return warn("clock", "the server sends no time", "compare the clocks by hand")
    skew = time.time() - there
    if -SKEW_S < skew < SKEW_S + 1:
        return ok("clock", "this clock and the server's agree")
    way = "ahead of" if skew > 0 else "behind"
    apart = format_duration(round(abs(skew)) * 1000)
    return warn("clock", f"this clock is {apart} {way} the server's", "set both by NTP")


def _token(context: Context) -> Iterator[Finding]:
    endpoint = context.endpoint()
    whence = endpoint.token_origin or "none was found"
    try:
        context.client().get("/api/jobs", {"limit": 1})
    except (errors.NotAuthenticated, errors.Forbidden) as error:
        step = "use --token-file or ETLMON_TOKEN; an admin makes one with `etlmon tokens create`"
        yield fail("token", f"{error.detail} (token: {whence})", step)
        return
    except errors.EtlmonError as error:
        yield fail("token", error.detail, "see the server's log")
        return
    if endpoint.warnings:
        yield warn("token", " ".join(endpoint.warnings), "make the file readable by you alone")
    else:
        yield ok("token", f"accepted (token: {whence})")
    yield _live(context)


def _live(context: Context) -> Finding:
    from etlmon.client.live import position

    try:
        here = asyncio.run(position(context.endpoint()))
    except errors.EtlmonError as error:
        return fail("live", error.detail, "see docs/websocket.md")
    if here is None:
        step = "let WebSocket upgrades of /ws through the proxy"
        return warn("live", "the server's WebSocket is refused; watch and --watch poll instead", step)
    return ok("live", "the WebSocket answers")


def check_config(context: Context, look: Look) -> Iterator[Finding]:
    """Whether the config file that would be used can be read whole."""
    from etlmon.host.config_file import load
    from etlmon.host.paths import config_file, data_dir

    file = config_file(context.config, data_dir(context.data_dir))
    if not file.exists():
        if context.config or os.environ.get("ETLMON_CONFIG"):
            yield fail("config", f"{file} is not there", "name another with --config, or `etlmon config init`")
        else:
            yield ok("config", "no config file: the defaults hold")
        return
    try:
        load(file)
    except errors.EtlmonError as error:
        faults = "; ".join(f"{fault.path}: {fault.message}" for fault in error.errors[:5])
        yield fail("config", f"{file}: {faults or error.detail}", "see `etlmon config validate`")
        return
    except OSError as error:
        yield fail("config", f"{file} cannot be read: {error.strerror}", "check its owner and mode")
        return
    if file.stat().st_mode & 0o077:
        yield warn("config", f"{file} can be read by others", f"chmod 600 {file}, if secrets stand in it")
    else:
        yield ok("config", f"{file} is valid")


def check_data_dir(context: Context, look: Look) -> Iterator[Finding]:
    """Whether the data directory is there, ours alone, writable, and has room."""
    from etlmon.host.paths import data_dir

    home = data_dir(context.data_dir)
    if not home.exists():
        yield ok("data directory", f"{home} is not there yet; `etlmon server` makes it")
        return
    found = home.stat()
    if not stat.S_ISDIR(found.st_mode):
        yield fail("data directory", f"{home} is no directory", "move the file away or name another with --data-dir")
    elif not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield fail("data directory", f"{home} cannot be written by you", f"chown it, or run as uid {found.st_uid}")
    elif found.st_mode & 0o077:
        yield warn("data directory", f"others can look into {home}", f"chmod 700 {home}")
    else:
        yield ok("data directory", f"{home} is yours alone")
    disk = shutil.disk_usage(home)
    free = f"{format_size(disk.free)} of {format_size(disk.total)} are free"
    if disk.total and disk.free / disk.total < LOW_DISK:
        yield warn("disk", free, "make room, or lower monitoring.logs.max_bytes")
    else:
        yield ok("disk", free)


class Spools(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in a spool directory and has no living owner."""

    orphans: int
    size: int
    oldest_s: float
    refused: int


def look_at_spools(directory: Path, now_s: float) -> Spools:
    """Count the spools whose owner is dead (their mark's lock is free), and the reports that were refused for good."""
    from etlmon.sdk.mark import SUFFIX
    from etlmon.sdk.segments import SUFFIX as SEGMENT

    orphans = [mark for mark in sorted(directory.glob(f"*{SUFFIX}")) if not _is_held(mark)]
    size, oldest = 0, 0.0
    for mark in orphans:
        files = [mark, *directory.glob(f"{mark.name.removesuffix(SUFFIX)}.*{SEGMENT}")]
        for file in files:
            try:
                found = file.stat()
            except FileNotFoundError:  # delivered while we look
                continue
            size += found.st_size
            oldest = max(oldest, now_s - found.st_mtime)
    refused = sum(1 for file in directory.glob("dead/*.jsonl") for _ in file.open("rb"))
    return Spools(orphans=len(orphans), size=size, oldest_s=oldest, refused=refused)


def _is_held(mark: Path) -> bool:
    """Whether a living process holds the mark's lock. The lock is taken shared and for an instant."""
    import fcntl

    try:
        with mark.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True  # delivered and gone
    except BlockingIOError:
        return True
    return False


def check_spools(context: Context, look: Look) -> Iterator[Finding]:
    """Whether reports lie on this machine that no server ever took."""
    from etlmon.host.paths import spool_dir

    directory = spool_dir(context.data_dir)
    try:
        found = look_at_spools(directory, time.time())
    except OSError as error:
        yield warn("spools", f"{directory} cannot be read: {error.strerror}", "check its owner and mode")
        return
    if found.orphans:
        age = format_duration(max(0, round(found.oldest_s * 1000)))
        detail = f"{found.orphans} spools in {directory} were never delivered: {format_size(found.size)}, oldest {age}"
        yield warn("spools", detail, f"with the server up: python -m etlmon.sdk.flush {directory}")
    else:
        yield ok("spools", f"nothing undelivered in {directory}")
    if found.refused:
        yield warn("refused", f"{found.refused} reports were refused for good", f"read {directory / 'dead'}")


def check_sqlite(context: Context, look: Look) -> Iterator[Finding]:
    """Whether a server could run here: the SQLite that this Python carries."""
    from etlmon.server.store.opening import require_sqlite

    library = importlib.import_module("sqlite3")
    try:
        require_sqlite(library.sqlite_version_info)
    except errors.EtlmonError as error:
        yield fail("sqlite", error.detail, "run the server with a newer Python")
        return
    yield ok("sqlite", f"SQLite {library.sqlite_version} with Python {sys.version.split()[0]}")


def check_terminal(context: Context, look: Look) -> Iterator[Finding]:
    """Whether glyphs and colours can be shown here."""
    if not look.terminal:
        yield ok("terminal", "output goes to a pipe or file")
    elif not look.unicode:
        yield warn(
            "terminal", f"the encoding is {sys.stdout.encoding}: glyphs become ASCII", "set LANG to a UTF-8 locale"
        )
    elif not look.redraws:
        yield warn("terminal", "TERM is dumb: watch prints lines instead of redrawing", "set TERM")
    else:
        yield ok("terminal", f"{os.environ.get('TERM', 'unknown')}, {look.width} columns, {sys.stdout.encoding}")
