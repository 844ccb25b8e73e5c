"""What dead processes left behind reaches the server it was meant for, once, and no other."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etlmon.host.endpoint import Endpoint, find_endpoint, write_private, write_server_file
from etlmon.host.paths import CLIENT_FILE
from etlmon.sdk import flush, patience
from etlmon.sdk.destination import Standing, header_for, standing
from etlmon.sdk.flush import Flusher, spawn_flusher
from etlmon.sdk.frames import LOG
from etlmon.sdk.mark import new_producer
from etlmon.sdk.orphans import look_for_orphan
from etlmon.sdk.spool import FileSpool
from etlmon.sdk.tail import Limits


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.01)
    monkeypatch.setattr(patience, "MOST_S", 0.05)


def leave(directory: Path, endpoint: Endpoint | None, name: str, n: int = 10) -> str:
    """A spool of ``n`` lines whose owner is dead."""
    directory.mkdir(mode=0o700, exist_ok=True)
    header = header_for(endpoint, source="sdk", pid=1, now=0)
    spool = FileSpool.create(directory, header, new_producer(), Limits())
    for number in range(n):
        text = f'{{"kind":"log","jobId":"{name}","at":"2999-01-01T00:00:00.000Z","message":"{name} {number}"}}'
        spool.append(LOG, text.encode())
    spool.abandon()
    return spool.producer


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.suffix in (".mark", ".seg")]


def test_a_later_reporter_delivers_them_in_between_its_own(
    server: Any, make_reporter: Callable[..., Any], spool_dir: Path
) -> None:
    left = [leave(spool_dir, server.endpoint(), f"old{n}", 1200) for n in range(3)]
    reporter = make_reporter(server.endpoint())
    reporter.log("new", "info", "new 0")
    assert reporter.flush(20)
    server.wait_for(lambda: len(server.messages()) == 3601)
    for n in range(3):
        lines = [message for message in server.messages() if message.startswith(f"old{n} ")]
        assert lines == [f"old{n} {number}" for number in range(1200)]
    assert set(server.marks) == {*left, reporter.producer}
    assert server.batches[0][0] == reporter.producer, "the present comes first"
    reporter.close()
    assert files(spool_dir) == []


@pytest.mark.parametrize("other", ["url", "token"])
def test_a_spool_for_another_server_or_token_is_left_alone(server: Any, spool_dir: Path, other: str) -> None:
    mine = server.endpoint()
    changed = {"url": "http://elsewhere:1"} if other == "url" else {"token": "another"}
    theirs = Endpoint(**{"url": mine.url, "token": mine.token, "origin": "test", **changed})
    leave(spool_dir, theirs, "theirs")
    assert Flusher(spool_dir, server.endpoint).run()
    assert server.requests == []
    assert len(files(spool_dir)) == 2
    orphan = look_for_orphan(spool_dir, theirs, Limits()).spool
    assert orphan is not None
    orphan.abandon()


def test_the_token_is_in_none_of_the_files(server: Any, spool_dir: Path) -> None:
    leave(spool_dir, server.endpoint("s3cret-token"), "x")
    assert not any(b"s3cret-token" in path.read_bytes() for path in spool_dir.iterdir())


def test_what_nobody_can_deliver_is_removed_when_it_is_older_than_a_week(
    server: Any, spool_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(spool_dir, Endpoint(url="http://elsewhere:1", token=None, origin="test"), "theirs")
    (spool_dir / "broken.mark").write_bytes(b"")
    assert look_for_orphan(spool_dir, server.endpoint(), Limits()).spool is None
    assert len(files(spool_dir)) == 3
    old = time.time() - 8 * 86_400
    for path in spool_dir.iterdir():
        os.utime(path, (old, old))
    assert look_for_orphan(spool_dir, server.endpoint(), Limits()).spool is None
    assert files(spool_dir) == []
    assert "too old and is removed" in caplog.text


def test_a_spool_of_a_later_version_is_left_for_it_and_told_once(
    server: Any, spool_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(spool_dir, server.endpoint(), "later")
    (mark,) = spool_dir.glob("*.mark")
    content = bytearray(mark.read_bytes())
    content[8] = 2
    mark.write_bytes(content)
    leave(spool_dir, server.endpoint(), "mine")
    for _ in range(2):
        assert Flusher(spool_dir, server.endpoint).run()
    assert server.messages() == [f"mine {n}" for n in range(10)]
    assert mark.read_bytes() == content
    assert caplog.text.count("its version is 2") == 1


@pytest.mark.parametrize("fate", ["arrived", "lost"])
def test_a_batch_that_rotted_after_it_was_sent_is_settled_by_asking_the_server(
    server: Any, spool_dir: Path, fate: str
) -> None:
    producer = leave(spool_dir, server.endpoint(), "x")
    (path,) = spool_dir.glob("*.mark")
    spool = FileSpool.adopt(path, Limits())
    assert spool is not None
    batch = spool.next_batch(5, 1 << 20)
    assert batch is not None
    spool.abandon()
    (segment,) = spool_dir.glob("*.seg")
    with segment.open("r+b") as file:
        file.seek(40)
        file.write(b"rot")
    if fate == "arrived":
        import json

        reports = [json.loads(payload) for payload in batch.payloads]
        server.take({"producer": producer, "seq": 1, "reports": reports})
    assert Flusher(spool_dir, server.endpoint).run()
    if fate == "arrived":
        assert server.messages() == [f"x {n}" for n in range(10)]
        assert set(server.marks) == {producer}
    else:
        assert server.messages() == [f"x {n}" for n in range(1, 10)]
        assert [gap["dropped"] for gap in server.of("gap")] == [1]


def test_the_flusher_waits_for_a_server_and_gives_up_when_its_time_is_over(server: Any, spool_dir: Path) -> None:
    leave(spool_dir, server.endpoint(), "x")
    server.fault = lambda n, body: "reset" if n < 10 else None
    rests: list[float] = []
    assert not Flusher(spool_dir, server.endpoint, lifetime_s=0.0, rest=rests.append).run()
    assert Flusher(spool_dir, server.endpoint, rest=rests.append).run()
    assert len(rests) >= 5
    assert server.messages() == [f"x {n}" for n in range(10)]


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["--for"], ["--for", "x", "a"]])
def test_a_wrong_call_of_the_flusher_shows_its_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert flush.main(argv) == 2
    assert capsys.readouterr().err == flush.USAGE


def test_the_flusher_refuses_a_directory_that_is_open_to_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert flush.main([str(tmp_path / "open")]) == 2
    assert "written by others" in capsys.readouterr().err
    assert flush.main([str(tmp_path / "nowhere")]) == 0


def test_of_two_flushers_for_one_server_the_second_leaves_and_one_for_another_server_works(tmp_path: Path) -> None:
    lock, other = tmp_path / "flush-1.lock", tmp_path / "flush-2.lock"
    with (
        flush._only_one(lock, 0.0) as first,
        flush._only_one(lock, 0.0) as second,
        flush._only_one(other, 0.0) as third,
    ):
        assert (first, second, third) == (True, False, True)
    with flush._only_one(lock, 0.0) as again:
        assert again


def test_a_detached_flusher_outlives_us_holds_nothing_of_ours_and_leaves_when_all_is_delivered(
    server: Any, spool_dir: Path
) -> None:
    leave(spool_dir, server.endpoint(), "x")
    server.fault = lambda n, body: "reset"
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    program = (
        "import sys\nfrom etlmon.host.endpoint import Endpoint\nfrom etlmon.sdk.flush import spawn_flusher\n"
        "print(spawn_flusher(sys.argv[1], Endpoint(url=sys.argv[2], token='t0ken', origin='test')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, spool_dir, server.url],
        capture_output=True, text=True, check=True, timeout=60, pass_fds=(writing,),
    )  # fmt: skip
    pid = int(done.stdout)
    os.close(writing)
    assert select.select([reading], [], [], 20)[0], "the flusher has let go of what it inherited, and goes on"
    os.close(reading)
    server.fault = lambda n, body: None
    server.wait_for(lambda: len(server.messages()) == 10)
    deadline = time.monotonic() + 30
    while _lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert files(spool_dir) == []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_no_interpreter_no_flusher_and_no_fault(spool_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    assert spawn_flusher(spool_dir) is None


class LocalServer:
    """A data directory as a local server leaves it, up or down."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        write_private(home / "admin.token", b"t0ken\n")

    def up(self, url: str) -> None:
        write_server_file(self.home, url, 1, "0", "e")

    def down(self) -> None:
        (self.home / "server.json").unlink()

    def endpoint(self) -> Endpoint:
        return find_endpoint(data_dir=self.home)


def test_the_flusher_waits_for_a_local_server_that_was_stopped_and_finds_it_on_its_new_port(
    make_server: Callable[..., Any], spool_dir: Path, tmp_path: Path
) -> None:
    local = LocalServer(tmp_path / "home")
    local.up("http://127.0.0.1:9")
    leave(spool_dir, local.endpoint(), "x")
    local.down()
    server = make_server()
    rests = 0

    def rest(seconds: float) -> None:
        nonlocal rests
        rests += 1
        if rests == 5:
            local.up(server.url)

    assert Flusher(spool_dir, local.endpoint, rest=rest).run()
    assert server.messages() == [f"x {n}" for n in range(10)]
    assert rests == 5


@pytest.mark.parametrize(
    ("made_for", "known_now", "expected"),
    [
        ("up", "up", Standing.OURS),
        ("up", "moved", Standing.OURS),
        ("up", "down", Standing.WAIT),
        ("up", "rotated", Standing.FOREIGN),
        ("up", "other home", Standing.FOREIGN),
        ("up", "named", Standing.FOREIGN),
        ("down", "up", Standing.OURS),
        ("down", "down", Standing.OURS),
        ("down", "named", Standing.FOREIGN),
        ("down", "client file", Standing.OURS),
        ("named", "named", Standing.OURS),
        ("named", "up", Standing.FOREIGN),
        ("named", "down", Standing.FOREIGN),
        ("nothing", "up", Standing.OURS),
        ("default with a token", "down", Standing.WAIT),
        ("default with a token", "up", Standing.OURS),
        ("default with a token", "rotated", Standing.FOREIGN),
    ],
)
def test_how_a_spool_stands_to_a_server(made_for: str, known_now: str, expected: Standing) -> None:
    known = {
        "up": Endpoint(url="http://127.0.0.1:1", token="t", origin="/home/server.json"),
        "moved": Endpoint(url="http://127.0.0.1:2", token="t", origin="/home/server.json"),
        "down": Endpoint(url="http://127.0.0.1:8081", token=None, origin="default"),
        "default with a token": Endpoint(url="http://127.0.0.1:8081", token="t", origin="default"),
        "rotated": Endpoint(url="http://127.0.0.1:1", token="new", origin="/home/server.json"),
        "other home": Endpoint(url="http://127.0.0.1:1", token="t", origin="/other/server.json"),
        "named": Endpoint(url="http://127.0.0.1:1", token="t", origin="ETLMON_URL"),
        "client file": Endpoint(url="http://h:1", token="r", origin=str(CLIENT_FILE)),
        "nothing": None,
    }
    header = header_for(known[made_for], source="sdk", pid=1, now=0)
    now = known[known_now]
    assert now is not None
    assert standing(header, now) is expected


@pytest.mark.parametrize("how", ["up", "down", "named", "token given"])
def test_a_flusher_is_told_so_that_it_finds_the_same_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    local = LocalServer(tmp_path / "home")
    if how != "down":
        local.up("http://127.0.0.1:1")
    options: dict[str, Any] = {"named": {"url": "http://x:1", "token": "z"}, "token given": {"token": "z"}}.get(how, {})
    here = find_endpoint(data_dir=local.home, **options)
    for name, value in flush.found_again(here, local.home / "spool").items():
        monkeypatch.setenv(name, value)
    there = find_endpoint()
    assert (there.url, there.token) == (here.url, here.token)
    assert standing(header_for(here, source="run", pid=1, now=0), there) is Standing.OURS
