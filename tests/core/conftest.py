"""What the tests of core share: the small cast of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from etlmon.core.job import Job, Status

T0 = 1_763_865_407_000


@pytest.fixture(scope="session")
def t0() -> int:
    """2025-11-23T02:36:47Z: when the cast's jobs start."""
    return T0


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """A running ``orders_nightly``, with whatever is given set."""

    def make(**fields: Any) -> Job:
        steady = {"id": "0190f6aa", "name": "orders_nightly", "type": "csv_processing", "status": Status.RUNNING}
        return Job(**{**steady, "created_at": T0, "updated_at": T0, "started_at": T0, **fields})

    return make
