"""One attempt's process: started in a group of its own, with the pipes between it and the worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

import msgspec

from etlmon.agent import worker_undertaker
from etlmon.agent.process import Child
from etlmon.agent.stdio import Channel
from etlmon.agent.worker_rooms import Room
from etlmon.agent.worker_wire import Asked, Given
from etlmon.sdk.command_pipe import VARIABLE as COMMAND_FD

PIPELINES = "etlmon.pipelines"
_OWN = ("ETLMON_JOB_ID", "ETLMON_FENCING_TOKEN", "ETLMON_RESULT_FD", COMMAND_FD, "ETLMON_PROFILE")
"""What a worker may itself have been started with, and must not hand on."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What every attempt on this worker is given: the server for its reports, and how far it may reach."""

    url: str
    token: str | None
    cwd: str
    allowed_roots: tuple[str, ...]
    allowed_hosts: tuple[str, ...]


class Undertaker:
    """The worker's word to its undertaker (see ``worker_undertaker``). Any thread may speak."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        argv = (sys.executable, "-I", "-S", worker_undertaker.__file__, str(self._limit_s))
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True)

    def add(self, group: int) -> None:
        """This group is to die with the worker."""
        self._groups.add(group)
        self._say(f"+{group}\n")

    def drop(self, group: int) -> None:
        """It has ended by itself."""
        self._groups.discard(group)
        self._say(f"-{group}\n")

    def limit(self, limit_s: float) -> None:
        """For how long the worker may stand still: a lease."""
        if limit_s != self._limit_s:
            self._limit_s = limit_s
            self._say(f"={limit_s}\n")

    def beat(self) -> None:
        """The worker lives."""
        self._say("\n")

    def _say(self, line: str) -> None:
        with self._lock:
            try:
                self._write(line)
            except OSError:  # somebody killed it: another one takes its place
                self._process.wait()
                self._process = self._begin()
                self._write("".join(f"+{group}\n" for group in tuple(self._groups)) or "\n")

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        os.write(self._process.stdin.fileno(), text.encode())

    def close(self) -> None:
        """Every job has ended: it may go."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        self._process.wait()


class Started:
    """A process that runs. ``channels`` are its output; ``result`` is what it says at its end."""

    def __init__(self, process: subprocess.Popen[bytes], channels: list[Channel], result: int, commands: int | None):
        self.process = process
        self.child = Child(process.pid)
        self.channels = channels
        self._commands = commands
        self._result = bytearray()
        self._reader = threading.Thread(target=self._read, args=(result,), name="result", daemon=True)
        self._reader.start()

    def _read(self, result: int) -> None:
        with os.fdopen(result, "rb", buffering=0) as pipe:
            while said := pipe.read(65_536):
                self._result += said

    def result(self, timeout_s: float = 1.0) -> bytes:
        """What it said, once it has ended; a grandchild that holds the pipe is not waited for."""
        self._reader.join(timeout_s)
        return bytes(self._result)

    @property
    def is_told(self) -> bool:
        """Whether the process obeys commands itself, at its checkpoints."""
        return self._commands is not None

    def tell(self, command: Asked) -> None:
        """Hand a command on to the process; one that no longer reads it is dealt with by its deadline."""
        if self._commands is not None:
            with contextlib.suppress(OSError):
                os.write(self._commands, msgspec.json.encode(command) + b"\n")

    def close(self) -> None:
        """Let go of our ends of the pipes."""
        os.close(self.channels[0].sink)
        if self._commands is not None:
            os.close(self._commands)
            self._commands = None


def start(given: Given, place: Place, room: Room) -> Started:
    """Start the attempt's process. OSError when it cannot be executed."""
    outs, errs, results, commands = os.pipe(), os.pipe(), os.pipe(), os.pipe()
    is_command = bool(given.spec.command)
    theirs = [outs[1], errs[1], results[1], commands[0]]
    ours = [outs[0], errs[0], results[0], commands[1]]
    os.set_blocking(commands[1], False)
    try:
        with _stdin(given, place, room) as stdin:
            process = subprocess.Popen(
                given.spec.command if is_command else (sys.executable, "-m", PIPELINES),
                stdin=stdin,
                stdout=outs[1],
                stderr=errs[1],
                cwd=_cwd(given, room) if is_command else room.here,
                env=_environment(given, place, room, results[1], None if is_command else commands[0]),
                pass_fds=(results[1],) if is_command else (results[1], commands[0]),
                process_group=0,
            )
    except (OSError, ValueError) as fault:
        for fd in ours:
            os.close(fd)
        raise fault if isinstance(fault, OSError) else OSError(22, str(fault)) from fault
    finally:
        for fd in theirs:
            os.close(fd)
    if is_command:
        os.close(commands[1])
    sink = os.open(os.devnull, os.O_WRONLY)
    for source in (outs[0], errs[0]):
        os.set_blocking(source, False)
    channels = [Channel(outs[0], sink, "stdout"), Channel(errs[0], sink, "stderr")]
    return Started(process, channels, results[0], None if is_command else commands[1])


def _cwd(given: Given, room: Room) -> str | Path:
    return os.path.expanduser(given.spec.cwd) if given.spec.cwd else room.here


def _stdin(given: Given, place: Place, room: Room) -> IO[bytes]:
    """The spec, in a file without a name: it may hold secrets. A command reads nothing."""
    file: IO[bytes] = tempfile.TemporaryFile(dir=room.path)  # noqa: SIM115 - the caller's to close
    if not given.spec.command:
        file.write(msgspec.json.encode(_told(given, place, room)))
    file.seek(0)
    return file


def _told(given: Given, place: Place, room: Room) -> dict[str, object]:
    return {
        "type": given.spec.type,
        "name": given.job.name,
        "config": given.spec.config or {},
        "attempt": given.job.attempt,
        "workDir": str(room.state),
        "allowedRoots": place.allowed_roots,
        "allowedHosts": place.allowed_hosts,
        "cwd": given.spec.cwd or place.cwd,
    }


def _environment(given: Given, place: Place, room: Room, result: int, commands: int | None) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in _OWN} | given.spec.env
    env |= {
        "ETLMON_JOB_ID": given.job.id,
        "ETLMON_FENCING_TOKEN": str(given.fencing_token),
        "ETLMON_URL": place.url,
        "ETLMON_TOKEN": place.token or "",
        "ETLMON_RESULT_FD": str(result),
        "ETLMON_SPOOL_DIR": str(room.spool),
        "PYTHONUNBUFFERED": env.get("PYTHONUNBUFFERED", "1"),
    }
    return env if commands is None else env | {COMMAND_FD: str(commands)}
