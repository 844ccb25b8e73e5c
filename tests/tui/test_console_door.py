"""The way in: no token, a wrong one, a typed one; no server, one started from the console, the demo instead."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_world import console
from msgspec.structs import replace

from etlmon.host.endpoint import Endpoint, find_endpoint, read_server_file
from etlmon.tui.door import TYPED, Door
from world import ServerProcess, new_id, started, wait_until


def test_a_typed_token_goes_only_to_the_server_that_it_was_typed_for() -> None:
    here = Endpoint(url="http://etl-2:8081", token="old", origin="--url", token_origin="--token-file")
    found = [here]
    door = Door(lambda: found[0])
    assert door() is here
    door.use_token("typed")
    assert (door().token, door().token_origin, door().url) == ("typed", TYPED, here.url)
    assert "typed in" in repr(door())
    found[0] = replace(here, origin="ETLMON_URL", token=None)
    assert door().token is None


async def test_without_a_token_it_says_so_at_once_and_takes_a_typed_one(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    door = lambda: Endpoint(url=server.url, token=None, origin="--url")  # noqa: E731
    async with console(door, server="etl-2", live=False) as seat:
        await seat.shows("✗ NO TOKEN", "etl-2 wants a token.", "t enters one", "etlmon tokens create")
        await seat.press("t")
        await seat.shows("A token for etl-2", "kept in memory")
        await seat.press("enter")
        await seat.shows("Paste the token first.")
        await seat.types("etl_wrong")
        assert "etl_wrong" not in seat.text
        await seat.press("enter")
        await seat.shows("etl-2 refused the token: revoked or unknown.")
        await seat.press("t")
        await seat.shows("A token for etl-2")
        await seat.types(server.token)
        await seat.press("enter")
        await seat.shows("● LIVE", "orders_nightly")
        await seat.press("x")
        await seat.shows("This is final")
        await seat.press("y")
        await seat.shows("✓ orders_nightly cancelled")
    assert not [path for path in server.data_dir.rglob("*") if path.suffix == ".token" and path.name != "admin.token"]


async def test_leaving_the_token_dialog_changes_nothing(server: ServerProcess) -> None:
    async with console(lambda: Endpoint(url=server.url, token="wrong", origin="--url"), live=False) as seat:
        await seat.shows("refused the token: revoked or unknown.")
        await seat.press("t")
        await seat.shows("It is kept in memory")
        await seat.press("escape")
        await seat.hides("It is kept in memory")
        assert seat.app.door().token == "wrong"


@pytest.fixture
def home(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without a server, whose server would take a free port; one that was started ends with the test."""
    for name in [name for name in os.environ if name.startswith("ETLMON")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("etlmon.host.endpoint.DEFAULT_URL", "http://127.0.0.1:9")
    config = data_dir / "config.toml"
    config.write_text("[server]\nport = 0\n")
    config.chmod(0o600)
    yield data_dir
    running = read_server_file(data_dir)
    if running is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)


async def test_where_no_server_runs_one_is_started_and_stays(home: Path) -> None:
    find = lambda: find_endpoint(data_dir=home)  # noqa: E731
    async with console(find, live=False, data_dir=str(home)) as seat:
        await seat.shows("✗ NO SERVER", "s starts one", "d shows the demo")
        await seat.press("s")
        await seat.shows("● LIVE", "✓ Started a server", "It stays when this console closes.", "No jobs yet.")
        process = seat.app.started_server
        assert process is not None
        assert os.getsid(process.pid) == process.pid
    assert process.poll() is None
    assert b"etlmon serves at" in (home / "server.log").read_bytes()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


async def test_a_server_that_cannot_start_is_told_with_its_last_words(home: Path) -> None:
    (home / "config.toml").write_text("[server]\nprot = 0\n")
    async with console(lambda: find_endpoint(data_dir=home), live=False, data_dir=str(home)) as seat:
        await seat.shows("s starts one")
        await seat.press("s")
        await seat.shows("✗ The server did not start")
        assert seat.app.started_server is not None
        wait_until(lambda: seat.app.started_server.poll() is not None, "it has ended")  # type: ignore[union-attr]


async def test_the_demo_is_what_the_console_leaves_for(home: Path) -> None:
    async with console(lambda: find_endpoint(data_dir=home), live=False) as seat:
        await seat.shows("d shows the demo")
        await seat.press("d")
        await seat.until(lambda: not seat.app.is_running or seat.app.return_value, "it leaves")
    assert seat.app.return_value == "demo"


async def test_the_keys_of_those_states_do_nothing_elsewhere(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server) as seat:
        await seat.press("s", "t", "d")
        await seat.until(lambda: seat.app.screen.query_one("SidePane").display, "the side pane opens")
        assert len(seat.app.screen_stack) == 1
        assert seat.app.return_value is None
