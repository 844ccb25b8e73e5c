"""Resource samples, taken of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etlmon.host.resources import HostSampler, ProcessSampler, host_sample

PARENT = """
import subprocess, sys
work = "import sys; held = b'x' * 50_000_000; print('up', flush=True); sys.stdin.read()"
subprocess.Popen([sys.executable, "-c", work], stdin=sys.stdin).wait()
"""


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process whose child holds 50 MB; both end when stdin closes."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        yield parent
        assert parent.stdin is not None
        parent.stdin.close()
        parent.wait(30)


def test_a_whole_tree_is_counted(family: subprocess.Popen[str]) -> None:
    sampler = ProcessSampler(family.pid)
    first = sampler.sample()
    assert first is not None
    assert first.n_processes == 2
    assert first.rss > 50_000_000
    assert first.cpu_percent is None
    second = sampler.sample()
    assert second is not None
    assert second.cpu_percent is not None
    assert second.cpu_percent >= 0


def test_work_shows_as_percent_of_a_core() -> None:
    sampler = ProcessSampler(os.getpid())
    sampler.sample()
    used = os.times().user
    while os.times().user - used < 0.05:
        sum(range(10_000))
    worked = sampler.sample()
    assert worked is not None
    assert (worked.cpu_percent or 0) > 1


def test_a_process_that_is_gone_gives_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        sampler = ProcessSampler(ended.pid)
        ended.wait(30)
    assert sampler.sample() is None
    assert sampler.sample() is None


def test_the_machine_is_told_in_shares(tmp_path: Path) -> None:
    sampler = HostSampler()
    first = sampler.sample(tmp_path)
    assert first.cpu is None
    assert 0 < first.memory < 1
    assert first.disk is not None
    assert 0 <= first.disk <= 1
    assert first.n_cpus >= 1
    for _ in range(1000):
        again = sampler.sample()
        if again.cpu is not None:  # the kernel counts in ticks
            break
    assert 0 <= (again.cpu or 0) <= 1
    assert again.disk is None
    assert host_sample(tmp_path / "none").disk is None
