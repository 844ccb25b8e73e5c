"""The child process: started in a group of its own, alone or in a session of its own behind a pty, and waited for.

The wrapper has one thread when it forks, so that what happens between fork and exec is safe. Knows POSIX, not reports.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterator
from typing import NoReturn

import msgspec

from etlmon.agent.signals import Signals

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_STATUS = struct.Struct("i")
_GO_ON = frozenset({errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ENODEV, errno.ETIMEDOUT})
_DEFAULT_PATH = b"/bin:/usr/bin"
_SHELL = b"/bin/sh"


class NotStarted(Exception):
    """The command could not be executed; ``exit_code`` is what ``env`` gives: 127 not found, else 126."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number
        self.exit_code = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What to start: ``fds`` become 0, 1 and 2 (None: closed); ``terminal`` is the one whose foreground it takes.

    ``unasked``: it may change the terminal though its group does not hold the foreground.
    """

    argv: tuple[bytes, ...]
    env: dict[bytes, bytes]
    fds: tuple[int | None, int | None, int | None]
    terminal: int | None = None
    unasked: bool = False


class Child:
    """A started command, leader of its group. ``monitor`` is its parent where a pty needs a session of its own."""

    def __init__(self, pid: int, *, statuses: int | None = None, monitor: int | None = None, leash: int | None = None):
        self.pid = pid
        self.monitor = monitor
        self.leash = leash
        self._statuses = statuses
        self._over = False

    def fileno(self) -> int | None:
        """What becomes readable when a status is there; None when SIGCHLD tells."""
        return self._statuses

    def changes(self) -> Iterator[int]:
        """Wait statuses since the last call: stopped, continued, and at last the end."""
        while not self._over:
            status = self._waited() if self._statuses is None else self._told(self._statuses)
            if status is None:
                return
            yield status
            if not os.WIFSTOPPED(status) and not os.WIFCONTINUED(status):
                self._over = True
                return

    def _waited(self) -> int | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:
            return None
        return status if pid else None

    def _told(self, statuses: int) -> int | None:
        try:
            raw = os.read(statuses, _STATUS.size)
        except BlockingIOError:
            return None
        if not raw:  # the monitor is gone without a word: killed, and the session with it
            return int(signal.SIGKILL)
        status: int = _STATUS.unpack(raw)[0]
        return status

    def send(self, signum: int) -> None:
        """Signal the command's own process; PermissionError where it became another user's."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def send_group(self, signum: int) -> None:
        """Signal its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)


def start(launch: Launch, signals: Signals) -> Child:
    """Start the command in a process group of its own, in this session; NotStarted when it cannot be executed."""
    failed, tell = os.pipe()
    with signals.held():
        pid = os.fork()
        if pid == 0:
            _become(launch, signals, tell)
        with contextlib.suppress(OSError):  # whoever of both comes first; EACCES once it has executed
            os.setpgid(pid, pid)
    os.close(tell)
    told = os.read(failed, _STATUS.size)  # nothing: exec has closed the pipe
    os.close(failed)
    if told:
        os.waitpid(pid, 0)
        raise NotStarted(_STATUS.unpack(told)[0])
    return Child(pid)


def start_in_session(launch: Launch, signals: Signals, slave: int) -> Child:
    """Start the command in a new session whose terminal is ``slave``.

    Between us and it stands a monitor, the session's leader: with its parent in another session the command's group
    would be an orphaned one, which the kernel never stops, and Ctrl-Z would do nothing.
    """
    failed, tell = os.pipe()
    statuses, tell_status = os.pipe()
    held, leash = os.pipe()
    with signals.held():
        monitor = os.fork()
        if monitor == 0:
            _monitor(launch, signals, slave, tell=tell, tell_status=tell_status, held=held)
    for fd in (tell, tell_status, held):
        os.close(fd)
    first = os.read(statuses, _STATUS.size)
    told = os.read(failed, _STATUS.size)
    os.close(failed)
    if told or not first:
        os.close(leash)
        os.close(statuses)
        os.waitpid(monitor, 0)
        raise NotStarted(_STATUS.unpack(told)[0] if told else errno.EIO)
    os.set_blocking(statuses, False)
    return Child(_STATUS.unpack(first)[0], statuses=statuses, monitor=monitor, leash=leash)


def _become(launch: Launch, signals: Signals, tell: int) -> NoReturn:
    """In the forked child: turn into the command, or tell the errno and end."""
    number = errno.EIO
    try:
        os.setpgid(0, 0)
        if launch.terminal is not None:  # before exec, so that the command never finds itself in the background
            with contextlib.suppress(OSError):
                os.tcsetpgrp(launch.terminal, os.getpid())
        for target, source in enumerate(launch.fds):
            if source is None:
                os.close(target)
            elif source != target:
                os.dup2(source, target)
        signals.restore_in_child()
        if launch.unasked:  # alone it would be in front; a handler would make its tcsetattr fail with EINTR (top)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        _exec(launch.argv, launch.env)
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os.write(tell, _STATUS.pack(number))
        os._exit(NOT_FOUND)


def _exec(argv: tuple[bytes, ...], env: dict[bytes, bytes]) -> None:
    """As glibc's ``execvp``: search PATH, remember a denial, give a file of no known format to the shell."""
    name = argv[0]
    if b"/" in name:
        _exec_file(name, argv, env)
    denied: OSError | None = None
    for directory in env.get(b"PATH", _DEFAULT_PATH).split(b":") if name else ():
        try:
            _exec_file(directory + b"/" + name if directory else name, argv, env)
        except OSError as error:
            if error.errno == errno.EACCES:
                denied = error
            elif error.errno not in _GO_ON:
                raise
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _exec_file(path: bytes, argv: tuple[bytes, ...], env: dict[bytes, bytes]) -> None:
    try:
        os.execve(path, argv, env)  # noqa: S606 - no shell is the point
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        os.execve(_SHELL, (_SHELL, path, *argv[1:]), env)  # noqa: S606


def _monitor(launch: Launch, signals: Signals, slave: int, *, tell: int, tell_status: int, held: int) -> NoReturn:
    """The session's leader: starts the command, passes on its statuses, and stays until it is let go.

    Forked with every signal held, it never lets one in: only the command's end or the wrapper's ends it.
    """
    try:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        pid = os.fork()
        if pid == 0:
            _become(launch, signals, tell)
        os.write(tell_status, _STATUS.pack(pid))
        _keep_only(tell_status, held)
        _pass_on(pid, tell_status)
        os.close(tell_status)
        while os.read(held, 1):
            pass
        _leave_quietly()
    finally:
        os._exit(0)


def _pass_on(pid: int, tell_status: int) -> None:
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)
        with contextlib.suppress(BrokenPipeError):  # the wrapper was killed: only the command matters now
            os.write(tell_status, _STATUS.pack(status))
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


def _keep_only(*fds: int) -> None:
    """Hold nothing of the wrapper's: its pipes must end when their users end."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low = 3
    for fd in (*sorted(fds), os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536):
        os.closerange(low, fd)
        low = fd + 1


def _leave_quietly() -> None:
    """Take the terminal's foreground, so that the hangup of our exit does not reach what the command left running."""
    with contextlib.suppress(OSError):
        os.tcsetpgrp(os.open("/dev/tty", os.O_RDWR), os.getpid())
