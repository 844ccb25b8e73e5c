"""Finding the server: flag, environment, profile, what is found, default; and a token never goes astray."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from etlmon.core.errors import Usage
from etlmon.host import paths
from etlmon.host.endpoint import (
    find_endpoint,
    masked,
    read_server_file,
    read_token_file,
    remove_server_file,
    write_private,
    write_server_file,
)

LOCAL = "http://127.0.0.1:9000"


def serve(home: Path, url: str = LOCAL) -> None:
    write_server_file(home, url, os.getpid(), "0.1.0", "e1")
    write_private(home / "admin.token", b"admin-token\n")


def profile(home: Path, **keys: str) -> None:
    lines = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    (home / "config.toml").write_text(f"[profiles.prod]\n{lines}")


def token_file(place: Path, token: str = "file-token", mode: int = 0o600) -> str:
    place.write_text(token + "\n")
    place.chmod(mode)
    return str(place)


def test_with_nothing_at_all_it_is_the_default_without_a_token() -> None:
    found = find_endpoint()
    assert (found.url, found.token, found.origin) == ("http://127.0.0.1:8081", None, "default")


def test_a_local_server_is_found_with_its_token(home: Path) -> None:
    serve(home)
    found = find_endpoint()
    assert (found.url, found.token, found.warnings) == (LOCAL, "admin-token", ())
    assert found.origin == str(home / "server.json")
    assert find_endpoint(data_dir=home).token == "admin-token"
    assert find_endpoint(data_dir=home / "other").token is None


def test_each_source_wins_over_the_next(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.CLIENT_FILE.write_bytes(msgspec.json.encode({"url": "http://client:1", "token": "client-token"}))
    assert find_endpoint().url == "http://client:1"
    assert find_endpoint().token == "client-token"
    serve(home)
    assert find_endpoint().url == LOCAL
    profile(home, url="http://profile:1", token_file=token_file(tmp_path / "p.token", "profile-token"))
    monkeypatch.setenv("ETLMON_PROFILE", "prod")
    found = find_endpoint()
    assert (found.url, found.token, found.origin) == ("http://profile:1", "profile-token", "profile prod")
    monkeypatch.setenv("ETLMON_URL", "http://env:1")
    monkeypatch.setenv("ETLMON_TOKEN", "env-token")
    found = find_endpoint()
    assert (found.url, found.token, found.origin, found.token_origin) == (
        "http://env:1",
        "env-token",
        "ETLMON_URL",
        "ETLMON_TOKEN",
    )
    assert "profile prod" in found.warnings[0]
    found = find_endpoint(url="http://flag:1", token="flag-token")
    assert (found.url, found.token, found.origin) == ("http://flag:1", "flag-token", "--url")
    found = find_endpoint(url="http://flag:1", token_file=token_file(tmp_path / "f.token"))
    assert (found.token, found.token_origin) == ("file-token", "--token-file")


def test_empty_variables_are_as_good_as_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(home)
    for name in ("ETLMON_URL", "ETLMON_TOKEN", "ETLMON_PROFILE"):
        monkeypatch.setenv(name, "")
    assert find_endpoint().token == "admin-token"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "http://localhost:9000", "127.0.0.1:9000"])
def test_the_local_token_goes_to_the_local_server_however_it_is_called(home: Path, url: str) -> None:
    serve(home)
    assert find_endpoint(url=url).token == "admin-token"


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.org:9000",
        "https://127.0.0.1:9000",
        "http://127.0.0.1:9001",
        "http://[::1]:9000",
        "http://127.0.0.1:x",
        "http://127.0.0.1:9000@evil.org",
    ],
)
def test_a_found_token_never_goes_to_another_server(home: Path, url: str) -> None:
    serve(home)
    assert find_endpoint(url=url).token is None
    (home / "server.json").unlink()
    paths.CLIENT_FILE.write_bytes(msgspec.json.encode({"url": LOCAL, "token": "client-token"}))
    assert find_endpoint(url=url).token is None


def test_an_unknown_profile_is_refused_with_the_nearest(home: Path) -> None:
    profile(home, url="http://p:1")
    with pytest.raises(Usage, match="did you mean 'prod'"):
        find_endpoint(profile="prid")
    with pytest.raises(Usage, match=r"no \[profiles.prod\]"):
        find_endpoint(profile="prod", config=home / "none.toml")


def test_a_profiles_token_file_is_relative_to_the_config(home: Path) -> None:
    token_file(home / "t")
    profile(home, url="http://p:1", token_file="t")
    assert find_endpoint(profile="prod").token == "file-token"
    assert find_endpoint(profile="prod", config=home / "config.toml").token == "file-token"


def test_a_token_file_that_others_can_read_is_told(home: Path, tmp_path: Path) -> None:
    found = find_endpoint(token_file=token_file(tmp_path / "t", mode=0o644))
    assert found.token == "file-token"
    assert "mode 0644" in found.warnings[0]
    serve(home)
    (home / "admin.token").chmod(0o640)
    assert "mode 0640" in find_endpoint().warnings[0]


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"two\nlines", b"\x1b[31m", "tök".encode(), b"x" * 1000])
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "t"
    place.write_bytes(content)
    with pytest.raises(Usage, match="must hold one token"):
        read_token_file(place)


def test_a_missing_token_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"t cannot be read: No such file"):
        find_endpoint(token_file=tmp_path / "t")


def test_neither_token_nor_password_shows() -> None:
    found = find_endpoint(url="http://me:hunter2@host:1/x@y", token="secret-token")
    assert found.shown_url == "http://***@host:1/x@y"
    assert "hunter2" not in repr(found)
    assert "secret-token" not in repr(found)
    assert masked("me:pw@host") == "***@host"
    assert masked("http://host/a@b") == "http://host/a@b"


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b'{"url": 5}',
    b"\xff\xfe",
    b"[" * 50_000,
    b'{"url": null, "pid": "1"}',
    b"x" * 200_000,
]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: str(content[:12]))
def test_a_server_file_of_garbage_is_as_good_as_none(home: Path, content: bytes) -> None:
    (home / "server.json").write_bytes(content)
    paths.CLIENT_FILE.write_bytes(content)
    assert read_server_file(home) is None
    assert find_endpoint().origin == "default"


def test_a_server_file_is_private_whole_and_taken_away_by_its_writer_alone(home: Path) -> None:
    write_server_file(home, LOCAL, 77, "0.1.0", "e1")
    place = home / "server.json"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert msgspec.json.decode(place.read_bytes()) == {"url": LOCAL, "pid": 77, "version": "0.1.0", "epoch": "e1"}
    assert [each.name for each in home.iterdir()] == ["server.json"]
    remove_server_file(home, 78)
    assert place.exists()
    remove_server_file(home, 77)
    remove_server_file(home, 77)
    assert not place.exists()


def test_a_reader_never_sees_half_a_server_file(home: Path) -> None:
    write_server_file(home, LOCAL, 0, "0.1.0", "e" * 4000)
    seen = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(read_server_file(home))

    reader = threading.Thread(target=look)
    reader.start()
    for pid in range(50):
        write_server_file(home, LOCAL, pid, "0.1.0", "e" * (pid * 100))
    done.set()
    reader.join()
    assert None not in seen


def test_a_failed_write_leaves_the_old_file_and_no_other(home: Path) -> None:
    (home / "target").mkdir()
    (home / "target" / "x").touch()
    with pytest.raises(OSError, match="directory"):
        write_private(home / "target", b"x")
    assert [each.name for each in home.iterdir()] == ["target"]


def test_asking_for_the_endpoint_loads_nothing_heavy() -> None:
    program = """
import sys
import etlmon.host.endpoint
first = set(sys.modules)
etlmon.host.endpoint.find_endpoint()
heavy = {"psutil", "platformdirs", "tomlkit", "aiohttp", "http.client", "click", "rich", "textual", "asyncio", "socket"}
print(sorted(heavy & first), sorted((heavy | {"tomllib", "difflib"}) & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] []"
