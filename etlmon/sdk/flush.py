"""``python -m etlmon.sdk.flush DIR``: deliver what dead processes left in a spool directory, then leave.

``etlmon run`` leaves one behind, detached, when the server is away at its end: one per directory and destination, for
at most a week.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etlmon.host.clock import monotonic_s
from etlmon.sdk.courier import Carried, Courier, Step
from etlmon.sdk.destination import LOCAL, EndpointSource, Standing, discover, fingerprint_of, key_of, look_up, standing
from etlmon.sdk.orphans import Found, look_for_orphan
from etlmon.sdk.patience import NOT_ALLOWED_S, Patience
from etlmon.sdk.spool import FileSpool
from etlmon.sdk.spool_directory import unusable
from etlmon.sdk.tail import Limits
from etlmon.sdk.transport import Transport

if TYPE_CHECKING:
    from etlmon.host.endpoint import Endpoint

LIFETIME_S: Final = 7 * 86_400.0
ATTENDED_S: Final = 60.0
"""How long it tries when somebody called it and waits."""
LOCK_S: Final = 5.0
"""How long to wait for another flusher of the directory, which may be about to leave."""
LINGER_S: Final = 3.0
"""How long a detached flusher looks for more: who left it behind may not have let go of its spool yet."""
ROUND_S: Final = 0.5
USAGE: Final = "usage: python -m etlmon.sdk.flush [--detached] [--for SECONDS] DIR\n"


class Flusher:
    """Delivers the orphans of one directory, one after another."""

    def __init__(
        self,
        directory: Path,
        source: EndpointSource,
        *,
        limits: Limits | None = None,
        lifetime_s: float = LIFETIME_S,
        linger_s: float = 0.0,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self.delivered = 0
        self._directory = directory
        self._source = source
        self._limits = limits or Limits()
        self._ends_at = monotonic_s() + lifetime_s
        self._linger_s = linger_s
        self._rest = rest
        self._patience = Patience()
        self._transport: Transport | None = None

    def run(self) -> bool:
        """Deliver until nothing is left that may ever go to our server (True), or the time is over (False)."""
        idle_until = monotonic_s() + self._linger_s
        try:
            while monotonic_s() < self._ends_at:
                endpoint = look_up(self._source)
                found = Found(None, True) if endpoint is None else self._look(endpoint)
                if endpoint is not None and found.spool is not None:
                    self._deliver(found.spool, endpoint)
                    idle_until = monotonic_s() + self._linger_s
                elif found.waiting:
                    self._pause(self._patience.failure())
                elif monotonic_s() >= idle_until:
                    return True
                else:
                    self._pause(ROUND_S)
            return False
        finally:
            if self._transport is not None:
                self._transport.close()

    def _look(self, endpoint: Endpoint) -> Found:
        return look_for_orphan(self._directory, endpoint, self._limits)

    def _deliver(self, spool: FileSpool, endpoint: Endpoint) -> None:
        """Carry one spool to its end, or until its server turns out to be another one now."""
        courier = Courier(spool, self._limits, dead_letters=self._directory / "dead")
        try:
            while monotonic_s() < self._ends_at and standing(spool.mark.header, endpoint) is Standing.OURS:
                carried = courier.carry(self._transport_to(endpoint))
                if carried.step is Step.IDLE:
                    self.delivered += 1
                    return
                if carried.step is not Step.MOVED:
                    self._pause(self._wait_after(carried))
                    endpoint = look_up(self._source) or endpoint
                else:
                    self._patience.success()
        finally:
            spool.close()

    def _transport_to(self, endpoint: Endpoint) -> Transport:
        known = self._transport
        if known is not None and (known.endpoint.url, known.endpoint.token) == (endpoint.url, endpoint.token):
            return known
        if known is not None:
            known.close()
        self._transport = Transport(endpoint)
        return self._transport

    def _wait_after(self, carried: Carried) -> float:
        match carried.step:
            case Step.NOT_ALLOWED:
                return NOT_ALLOWED_S
            case Step.BUSY:
                return self._patience.asked(carried.retry_after_s)
            case _:
                return self._patience.failure()

    def _pause(self, seconds: float) -> None:
        self._rest(max(0.0, min(seconds, self._ends_at - monotonic_s())))


def spawn_flusher(spool_dir: str | os.PathLike[str] | None = None, endpoint: Endpoint | None = None) -> int | None:
    """Leave a detached flusher behind that outlives us; its pid, or None when none could be started.

    Without arguments it finds directory and server as this process does, by the same environment.
    """
    from etlmon.host import paths

    directory = (Path(spool_dir) if spool_dir is not None else paths.spool_dir()).absolute()
    environment = dict(os.environ) | (found_again(endpoint, directory) if endpoint is not None else {})
    argv = [sys.executable, "-P", "-m", "etlmon.sdk.flush", "--detached", str(directory)]
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    try:
        return os.posix_spawn(sys.executable, argv, environment, file_actions=nowhere, setsid=True)
    except (OSError, NotImplementedError, ValueError):
        return None  # the spool is on disk: the next agent on this machine delivers it


def found_again(endpoint: Endpoint, spool_dir: Path) -> dict[str, str]:
    """The environment in which a flusher finds the same server, however it was found here.

    A local one is found by its data directory again, since it may come back on another port. A token that was given
    goes along; only its own user can read a process's environment.
    """
    key = key_of(endpoint)
    if key.startswith("url:"):
        return {"ETLMON_URL": endpoint.url or "", "ETLMON_TOKEN": endpoint.token or ""}
    home = Path(key.removeprefix(LOCAL)) if key.startswith(LOCAL) else spool_dir.parent
    if not key.startswith(LOCAL) and os.environ.get("ETLMON_SPOOL_DIR"):
        return {}  # the spool lies somewhere else, and says nothing of where a server would be
    token = endpoint.token if endpoint.token and endpoint.token_origin != str(home / "admin.token") else None
    return {"ETLMON_DATA_DIR": str(home)} | ({"ETLMON_TOKEN": token} if token else {})


def main(argv: Sequence[str]) -> int:
    """The command; 0 when nothing deliverable is left, 1 when the time ran out, 2 for a wrong call."""
    arguments = list(argv)
    detached = "--detached" in arguments
    if detached:
        arguments.remove("--detached")
    lifetime_s = LIFETIME_S if detached else ATTENDED_S
    if "--for" in arguments:
        at = arguments.index("--for")
        try:
            lifetime_s = float(arguments[at + 1])
        except (IndexError, ValueError):
            sys.stderr.write(USAGE)
            return 2
        del arguments[at : at + 2]
    if len(arguments) != 1:
        sys.stderr.write(USAGE)
        return 2
    directory = Path(arguments[0])
    if detached:
        _detach()
    return _flush(directory, lifetime_s, detached=detached)


def _flush(directory: Path, lifetime_s: float, *, detached: bool) -> int:
    if not directory.exists():
        return 0
    why = unusable(directory)
    if why is not None:
        sys.stderr.write(f"etlmon: {why}\n")
        return 2
    with _only_one(directory / _lock_name(), LOCK_S if detached else lifetime_s) as ours:
        if not ours:
            return 0 if detached else 1  # another one is at it, and looks again until all is delivered
        flusher = Flusher(directory, discover, lifetime_s=lifetime_s, linger_s=LINGER_S if detached else 0.0)
        done = flusher.run()
    if not detached:
        left = "nothing is left" if done else "some are left: no server took them in this time"
        sys.stderr.write(f"etlmon: {flusher.delivered} spools were delivered, {left}\n")
    return 0 if done else 1


def _lock_name() -> str:
    """One flusher for each server and token: one whose token is refused must not keep the others out."""
    from zlib import crc32

    endpoint = look_up(discover)
    whom = "" if endpoint is None else f"{key_of(endpoint)} {fingerprint_of(endpoint.token)}"
    return f"flush-{crc32(whom.encode()):08x}.lock"


@contextlib.contextmanager
def _only_one(lock: Path, wait_s: float) -> Iterator[bool]:
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    until = monotonic_s() + wait_s
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if monotonic_s() >= until:
                    yield False
                    return
                time.sleep(0.1)
                continue
            yield True
            return
    finally:
        os.close(fd)


def _detach() -> None:
    """Hold on to nothing of whoever started us: no files, no directory, no terminal (setsid was done at the start)."""
    os.chdir("/")
    os.umask(0o077)
    os.closerange(3, 65_536)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
