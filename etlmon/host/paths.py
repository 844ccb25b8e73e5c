"""Where etlmon keeps its files on this machine. Knows of no content."""

from __future__ import annotations

import os
from pathlib import Path

CLIENT_FILE = Path("/etc/etlmon/client.json")
"""What tells every user of the machine the server's url and a reporter token."""


def data_dir(explicit: str | Path | None = None) -> Path:
    """The server's data directory: as given, else ETLMON_DATA_DIR, else the platform's user data directory."""
    given = explicit or os.environ.get("ETLMON_DATA_DIR")
    if given:
        return Path(os.path.abspath(os.path.expanduser(given)))
    from platformdirs import user_data_path  # 10 ms that a given directory saves

    usual = user_data_path("etlmon", appauthor=False)
    if usual.is_absolute():
        return usual
    import tempfile  # no home at all, as with a bare numeric user in a container

    return Path(tempfile.gettempdir()) / f"etlmon-{os.getuid()}"


def spool_dir(data: str | Path | None = None) -> Path:
    """Where agents keep what is not yet acknowledged: ETLMON_SPOOL_DIR, else ``spool`` in the data directory."""
    given = os.environ.get("ETLMON_SPOOL_DIR")
    return Path(os.path.abspath(os.path.expanduser(given))) if given else data_dir(data) / "spool"


def config_file(explicit: str | Path | None = None, data: str | Path | None = None) -> Path:
    """The config file's place, there or not: as given, else ETLMON_CONFIG, else ``config.toml`` beside the data."""
    given = explicit or os.environ.get("ETLMON_CONFIG")
    return Path(os.path.abspath(os.path.expanduser(given))) if given else data_dir(data) / "config.toml"
