"""Resources: what the host and this server's process use, sampled off the loop; the newest sample is kept."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from etlmon.host.resources import ProcessSampler, host_sample


class Sample(msgspec.Struct, frozen=True):
    """One look at the machine; both maps are shown as they are."""

    at: int
    host: dict[str, Any]
    process: dict[str, Any]


class Resources:
    """Looks every five seconds."""

    name = "resources"
    interval_s = 5.0

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._sampler = ProcessSampler(os.getpid())
        self._newest: Sample | None = None

    async def run_once(self, now: int) -> int:
        """Take one sample."""
        self._newest = await asyncio.to_thread(self._look, now)
        return 1

    async def newest(self, now: int) -> Sample:
        """The newest sample; taken now when there is none yet."""
        if self._newest is None:
            await self.run_once(now)
        assert self._newest is not None  # noqa: S101  # run_once has just set it
        return self._newest

    def _look(self, now: int) -> Sample:
        own = self._sampler.sample()
        return Sample(now, msgspec.to_builtins(host_sample(self._data_dir)), msgspec.to_builtins(own) or {})
