"""A machine of its own for each test: no ETLMON variables, an empty home, no system-wide client file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from etlmon.host import paths


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory, also what ETLMON_DATA_DIR names."""
    for name in list(os.environ):
        if name.startswith(("ETLMON_", "XDG_")):
            monkeypatch.delenv(name)
    directory = tmp_path / "data"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ETLMON_DATA_DIR", str(directory))
    monkeypatch.setattr(paths, "CLIENT_FILE", tmp_path / "client.json")
    return directory
