"""The worker of this machine: a process in a session of its own, so that whatever ends the server ends no job.

A lock file says that it lives; the server starts one where none does, also when the last one died. Knows it by argv
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

logger = logging.getLogger(__name__)

LOCK = "worker.lock"
LOG = "worker.log"
MAX_LOG = 1_000_000
"""Bytes; a longer log is begun anew at the worker's start."""
LOOK_S = 1.0
DRAIN = "2500ms"
"""How long its jobs have to come to a checkpoint: the server itself has 10 s in all."""
FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
STEADY_S = 60.0
"""A worker that lived for so long is started again at once."""


class EmbeddedWorker:
    """Keeps one worker alive beside the server. ``token`` is the file of the worker's own token."""

    def __init__(self, data_dir: Path, config_file: Path | None, token: Path) -> None:
        self._data_dir = data_dir
        self._config_file = config_file
        self._token = token
        self._child: subprocess.Popen[bytes] | None = None
        self._is_draining = False

    async def run(self) -> None:
        """Start a worker whenever there is none; until cancelled, which leaves it alone."""
        rest_s = FIRST_REST_S
        while not self._is_draining:
            if self.pid() is None:
                began = time.monotonic()
                self._start()
                await self._gone(LOOK_S)
                if time.monotonic() - began >= STEADY_S:
                    rest_s = FIRST_REST_S
                await asyncio.sleep(rest_s)
                rest_s = min(LONGEST_REST_S, rest_s * 2)
            else:  # a server before us started it
                await asyncio.sleep(LOOK_S)

    async def drain(self) -> None:
        """Ask it to give its jobs back and end; returns when it has. No other is started."""
        self._is_draining = True
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await self._gone(0.02)

    async def _gone(self, look_s: float) -> None:
        while self.pid() is not None:  # noqa: ASYNC110 - no event tells of a process that is not our child
            await asyncio.sleep(look_s)

    def pid(self) -> int | None:
        """The live worker's process: ours, or one that holds the lock; None when there is none."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        return holder_of(self._data_dir / LOCK)

    def _start(self) -> None:
        argv = [sys.executable, "-m", "etlmon", "worker", "--data-dir", str(self._data_dir)]
        argv += ["--token-file", str(self._token), "--lock", str(self._data_dir / LOCK), "--drain", DRAIN]
        if self._config_file is not None:
            argv += ["--config", str(self._config_file)]
        taken = ("ETLMON_URL", "ETLMON_TOKEN", "ETLMON_PROFILE", "ETLMON_JOB_ID", "ETLMON_FENCING_TOKEN")
        env = {key: value for key, value in os.environ.items() if key not in taken}
        path = self._data_dir / LOG
        try:
            if path.exists() and path.stat().st_size > MAX_LOG:
                path.unlink()
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab") as log:
                self._child = subprocess.Popen(
                    argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as fault:
            logger.error("The embedded worker could not be started", extra={"action": "worker", "why": str(fault)})
            return
        logger.info("The embedded worker was started", extra={"action": "worker", "pid": self._child.pid})


def holder_of(lock: Path) -> int | None:
    """The process that holds the lock file; None when nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.pread(descriptor, 32, 0).strip()
        return int(told) if told.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)
