"""Where files are: a flag wins over the environment, which wins over the platform's custom."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from etlmon.host import paths


def test_a_given_directory_wins_over_the_environment(home: Path, tmp_path: Path) -> None:
    assert paths.data_dir() == home
    assert paths.data_dir(tmp_path / "x") == tmp_path / "x"
    assert paths.data_dir("~/y") == tmp_path / "y"
    assert paths.data_dir("z/../w").is_absolute()


def test_without_either_it_is_the_platforms_user_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ETLMON_DATA_DIR")
    assert paths.data_dir() == tmp_path / ".local/share/etlmon"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert paths.data_dir() == tmp_path / "xdg/etlmon"


def test_a_user_without_a_home_still_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETLMON_DATA_DIR")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: Path("~/.local/share/etlmon"))
    assert paths.data_dir().parent == Path(tempfile.gettempdir())


def test_spools_lie_in_the_data_directory_unless_they_are_put_elsewhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paths.spool_dir() == home / "spool"
    assert paths.spool_dir(tmp_path) == tmp_path / "spool"
    monkeypatch.setenv("ETLMON_SPOOL_DIR", str(tmp_path / "s"))
    assert paths.spool_dir(tmp_path) == tmp_path / "s"


def test_the_config_file_is_the_one_given_named_or_beside_the_data(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paths.config_file() == home / "config.toml"
    monkeypatch.setenv("ETLMON_CONFIG", str(tmp_path / "e.toml"))
    assert paths.config_file() == tmp_path / "e.toml"
    assert paths.config_file(tmp_path / "f.toml") == tmp_path / "f.toml"
