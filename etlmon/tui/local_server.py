"""Starting a server on this machine from the console; it stays when the console closes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from etlmon.core.text import shown
from etlmon.host.endpoint import DEFAULT_ORIGIN
from etlmon.host.paths import data_dir

if TYPE_CHECKING:
    from etlmon.tui.app import Console

LOG = "server.log"
STARTS_WITHIN_S = 20.0
LOOK_EVERY_S = 0.05


def launch(home: Path, config: str | None = None) -> subprocess.Popen[bytes]:
    """``etlmon server`` in a session of its own; what it prints goes to ``server.log`` in its data directory."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "etlmon", "server", "--data-dir", str(home)]
    if config is not None:
        argv += ["--config", config]
    with (home / LOG).open("ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


async def start(console: Console) -> None:
    """Start a server, wait until it serves, connect."""
    home = data_dir(console.data_dir)
    try:
        process = await asyncio.to_thread(launch, home, console.config)
    except OSError as fault:
        console.toast("No server was started", shown(str(fault)), "fail")
        return
    console.started_server = process  # kept: while the console lives it is the one to take note of its end
    loop = asyncio.get_running_loop()
    end = loop.time() + STARTS_WITHIN_S
    while loop.time() < end:
        if process.poll() is not None:
            console.toast("The server did not start", _last_words(home / LOG), "fail")
            return
        if console.door().origin != DEFAULT_ORIGIN:
            console.toast("Started a server", "It stays when this console closes.", "ok")
            console.action_reconnect()
            return
        await asyncio.sleep(LOOK_EVERY_S)
    console.toast("The server does not answer yet", f"Its log: {home / LOG}", "warn")


def _last_words(log: Path) -> str:
    """The last line that it printed."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return shown(lines[-1].removeprefix("Error: ")) if lines else f"Its log: {log}"
