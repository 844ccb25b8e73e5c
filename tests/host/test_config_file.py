"""The config file on disk, and the command that shows, checks and creates it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from etlmon.cli import main
from etlmon.core.config import DEFAULT, parse_config
from etlmon.core.config_leaf import Secret
from etlmon.core.errors import Invalid, Usage
from etlmon.host.config_file import load, read, read_profiles, reveal


def write(file: Path, content: str, mode: int = 0o600) -> Path:
    file.write_text(content)
    file.chmod(mode)
    return file


def test_without_a_file_every_default_holds(home: Path) -> None:
    assert load() == (DEFAULT, None)
    assert load(data_dir=home / "none") == (DEFAULT, None)


def test_the_file_in_the_data_directory_is_read_unless_another_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write(home / "config.toml", "server.port = 1")
    config, file = load()
    assert (config.server.port, file) == (1, own)
    other = write(tmp_path / "other.toml", "server.port = 2")
    monkeypatch.setenv("ETLMON_CONFIG", str(other))
    assert load()[0].server.port == 2
    assert load(own)[0].server.port == 1


@pytest.mark.parametrize("make", ["none", "directory", "fifo", "null"])
def test_a_named_file_that_cannot_be_read_is_refused_and_never_waited_for(tmp_path: Path, make: str) -> None:
    place = tmp_path / "c.toml"
    if make == "directory":
        place.mkdir()
    elif make == "fifo":
        os.mkfifo(place)
    elif make == "null":
        place = Path("/dev/null")
    with pytest.raises(Usage, match=r"The config file .* (cannot be read|is a directory|is not a regular file)"):
        load(place)


def test_a_huge_file_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    place = tmp_path / "c.toml"
    with place.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(Invalid, match="larger than 1048576 bytes"):
        load(place)


def test_a_fault_names_the_file(home: Path) -> None:
    file = write(home / "config.toml", "server.prot = 1")
    with pytest.raises(Invalid, match=str(file)) as caught:
        load()
    assert caught.value.errors[0].path == "server.prot"


def test_impossible_schedules_and_unknown_zones_are_told_with_the_other_faults(home: Path) -> None:
    jobs = {"a": ("61 2 * * *", "Europe/Rom"), "b": ("0 0 30 2 *", "UTC"), "c": ("0 2 * * mon-fri", "Europe")}
    text = "".join(
        f'[jobs.{name}]\nstart = false\nschedule = "{cron}"\ntimezone = "{zone}"\n'
        for name, (cron, zone) in jobs.items()
    )
    write(home / "config.toml", text + '[jobs.d]\ntimezone = "../etc"\n[jobs.e]\ntimezone = "Europe/Rome"\n')
    with pytest.raises(Invalid) as caught:
        load()
    told = {fault.path: fault.message for fault in caught.value.errors}
    assert told.pop("jobs.c.timezone").startswith("'Europe' is no time zone that this machine knows")
    assert told == {
        "jobs.a.schedule": "minute 61 is not within 0 to 59 (line 3)",
        "jobs.b.schedule": "never comes: no month that it names has a day 30 (line 7)",
        "jobs.d.timezone": "must be a zone, as Europe/Rome (line 14)",
        "jobs.a.timezone": "'Europe/Rom' is no time zone that this machine knows: did you mean 'Europe/Rome'? (line 4)",
    }
    write(home / "config.toml", '[jobs.c]\ntimezone = "Europe"\n')
    with pytest.raises(Invalid, match=r"jobs\.c\.timezone"):
        load()


def test_a_file_that_others_can_read_is_told_of(home: Path) -> None:
    write(home / "config.toml", "server.port = 1", 0o640)
    assert "mode 0640" in read().warnings[0]
    (home / "config.toml").chmod(0o600)
    assert read().warnings == ()


HOOK = '[[channels]]\nname = "ops"\nkind = "webhook"\nurl = "https://x"\nsecret = '


def test_what_a_secret_or_certificate_points_to_must_be_there(home: Path) -> None:
    file = write(home / "config.toml", HOOK + '{file = "key"}\n[server]\ntls_cert = "c"\ntls_key = "k"')
    with pytest.raises(Invalid) as caught:
        load()
    assert [fault.path for fault in caught.value.errors] == ["channels[0].secret", "server.tls_cert", "server.tls_key"]
    assert "(line 5)" in caught.value.errors[0].message
    for name in ("key", "c", "k"):
        (home / name).write_text("hunter2\n")
    config, _ = load()
    secret = config.channels[0].secret
    assert secret is not None
    assert reveal(secret, file.parent) == "hunter2"
    assert "hunter2" not in repr(config)


def test_secrets_are_read_when_they_are_asked_for(home: Path) -> None:
    assert reveal(Secret(env="X"), home, {"X": "v"}) == "v"
    assert reveal(Secret(text="t"), home) == "t"
    with pytest.raises(Usage, match="X is not set"):
        reveal(Secret(env="X"), home, {})
    with pytest.raises(Usage, match="cannot be read"):
        reveal(Secret(file="none"), home)
    (home / "bin").write_bytes(b"\xff\xfe")
    with pytest.raises(Usage, match="cannot be read"):
        reveal(Secret(file="bin"), home)


def test_profiles_are_read_even_when_other_settings_are_wrong(home: Path) -> None:
    file = write(
        home / "config.toml", 'server.prot = 1\n[profiles.a]\nurl = "http://a:1"\n[profiles.b]\ntoken_file = "t"'
    )
    assert read_profiles(file) == {"a": ("http://a:1", None), "b": (None, "t")}
    assert read_profiles(home / "none") == {}
    write(file, "[profiles.a]\nurl = 5\nurk = 1")
    with pytest.raises(Invalid) as caught:
        read_profiles(file)
    assert {fault.path for fault in caught.value.errors} == {"profiles.a.url", "profiles.a.urk"}


def test_config_init_writes_a_private_starter_and_never_over_another(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "config.toml"
    assert main(["config", "init"]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert parse_config(file.read_bytes(), {}) == DEFAULT
    write(file, "server.port = 1")
    assert main(["config", "init"]) == 6
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "server.port = 1"
    assert main(["config", "init", "--force"]) == 0
    assert main(["config", "init", str(home / "sub" / "other.toml")]) == 0
    assert (home / "sub" / "other.toml").exists()


def test_config_validate_tells_every_fault_and_exits_2(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(home / "bad.toml", 'server.prot = 1\nmonitoring.logs.level = "x\u202e"\n')
    assert main(["config", "validate", str(file)]) == 2
    told = capsys.readouterr().err
    assert "server.prot: unknown key: did you mean 'port'? (line 1)" in told
    assert "monitoring.logs.level: must be one of" in told
    assert "\u202e" not in told
    write(home / "config.toml", "server.port = 1\n", 0o644)
    assert main(["config", "validate"]) == 0
    said = capsys.readouterr()
    assert said.out == f"ok\t{home / 'config.toml'} (1 settings)\n"
    assert "mode 0644" in said.err
    assert main(["config", "validate", str(home / "none.toml")]) == 2


def test_config_show_tells_what_holds_and_whence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(home / "config.toml", f"{HOOK}{{env = 'HOOK_KEY'}}\n[monitoring.logs]\nlevel = 'info'\n")
    os.environ["HOOK_KEY"] = "hunter2"
    try:
        assert main(["config", "show", "--origin", "monitoring.logs"]) == 0
        assert capsys.readouterr().out.splitlines()[:2] == [
            f"monitoring.logs.level\tinfo\t{file}",
            "monitoring.logs.retention_days\t30\tdefault",
        ]
        assert main(["config", "show", "-o", "json"]) == 0
        out = capsys.readouterr().out
    finally:
        del os.environ["HOOK_KEY"]
    shown = {item["path"]: item for item in msgspec.json.decode(out)}
    assert shown["monitoring.logs.level"]["origin"] == str(file)
    assert shown["channels[0].secret"]["value"] == '{env = "HOOK_KEY"}'
    assert shown["channels[0].url"]["value"] == "***"
    assert "hunter2" not in out


def test_config_show_of_an_unknown_key_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "server.prot"]) == 5
    assert "did you mean 'server.port'?" in capsys.readouterr().err
    assert main(["config", "show", "server.port", "-o", "yaml"]) == 0
    assert "8081" in capsys.readouterr().out


def test_config_path_names_the_file_there_or_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "path"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{home / 'config.toml'}\n"
    assert "not there" in said.err
    assert main(["config", "path", "--config", "/x/y.toml"]) == 0
    assert capsys.readouterr().out == "/x/y.toml\n"
