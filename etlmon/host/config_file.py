"""The config file on this machine: found, read within bounds, checked, its secrets opened. What it means is core's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from etlmon.core.config import DEFAULT, Config, Profile, parse_config
from etlmon.core.config_check import MAX_BYTES, fields_of, quoted_key, read_section, read_toml, refusal, with_lines
from etlmon.core.config_leaf import Secret
from etlmon.core.errors import Fault, Invalid, Usage
from etlmon.core.text import hint
from etlmon.host import paths

MAX_SECRET = 65_536
"""Bytes of a secret's file; a key or password is never longer."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A checked config, the file that it came from (None: there is none), its bytes, and what a person should hear."""

    config: Config
    path: Path | None
    raw: bytes = b""
    warnings: tuple[str, ...] = ()


def load(
    path: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[Config, Path | None]:
    """The config that holds here and its file: ``path``, else ETLMON_CONFIG, else config.toml in the data directory.

    Only the last may be absent, and then every setting is at its default. Raises ``errors.Invalid`` with every fault.
    """
    loaded = read(path, data_dir=data_dir, env=env)
    return loaded.config, loaded.path


def read(
    path: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """As ``load``, with the bytes that were read and the warnings."""
    file = paths.config_file(path, data_dir)
    asked_for = bool(path or os.environ.get("ETLMON_CONFIG"))
    if not asked_for and not file.exists():
        return Loaded(config=DEFAULT, path=None)
    raw = read_bytes(file)
    try:
        config = _checked(raw, os.environ if env is None else env, file.parent)
    except Invalid as fault:
        raise Invalid(f"{file}: {fault.detail}", errors=fault.errors) from None
    return Loaded(config=config, path=file, raw=raw, warnings=_warnings(file))


def read_bytes(file: Path) -> bytes:
    """The file's bytes, at most one more than a config may have; Usage when there is none to read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not hang us
        with os.fdopen(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Usage(f"The config file {file} is not a regular file.")
            return source.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise Usage(f"The config file {file} is a directory.") from None
    except (OSError, ValueError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise Usage(f"The config file {file} cannot be read: {why}.") from None


def _warnings(file: Path) -> tuple[str, ...]:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return (f"{file} is open to others (mode {mode:04o}): run chmod 600 {file}",)
    return ()


def _checked(raw: bytes, env: Mapping[str, str], base: Path) -> Config:
    """The config in ``raw``: what core checks, and what only this machine can tell; Invalid with all the faults."""
    zones = with_lines(list(_unknown_zones(read_toml(raw))), raw)
    try:
        config = parse_config(raw, env)
    except Invalid as refused:
        told = {fault.path for fault in refused.errors}
        raise refusal([*refused.errors, *(fault for fault in zones if fault.path not in told)]) from None
    if faults := [*with_lines(list(_missing_files(config, base)), raw), *zones]:
        raise refusal(faults)
    return config


def _unknown_zones(tree: dict[str, Any]) -> Iterator[Fault]:
    """The time zones of jobs that this machine has no rules for."""
    jobs = tree.get("jobs")
    for name, job in jobs.items() if isinstance(jobs, dict) else ():
        zone = job.get("timezone") if isinstance(job, dict) else None
        if isinstance(zone, str) and zone != "UTC" and (why := _zone_fault(zone)):
            yield Fault(f"jobs.{quoted_key(name)}.timezone", why)


def _zone_fault(zone: str) -> str | None:
    from zoneinfo import ZoneInfo, available_timezones  # with a zone only: it brings half a dozen modules

    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # a directory (Europe), a path out of the zones, a file that is none
        known = available_timezones()
        if not known:
            return f"{zone!r} is unknown: this machine has no time zones (install tzdata)"
        return f"{zone[:80]!r} is no time zone that this machine knows{hint(zone, sorted(known))}"
    return None


def _missing_files(config: Config, base: Path) -> Iterator[Fault]:
    """References to files that are not there."""
    for path, secret in _secrets(config):
        if secret.file is not None and not os.access(_beside(base, secret.file), os.R_OK):
            yield Fault(path, f"the file {secret.file} cannot be read")
    for key, name in (("tls_cert", config.server.tls_cert), ("tls_key", config.server.tls_key)):
        if name is not None and not os.access(_beside(base, name), os.R_OK):
            yield Fault(f"server.{key}", f"the file {name} cannot be read")


def _secrets(config: Config) -> Iterator[tuple[str, Secret]]:
    for at, channel in enumerate(config.channels):
        for field in fields_of(type(channel)):
            value = getattr(channel, field.name)
            if isinstance(value, Secret):
                yield f"channels[{at}].{field.name}", value


def _beside(base: Path, name: str) -> Path:
    return base / Path(name).expanduser()


def reveal(secret: Secret, base: Path, env: Mapping[str, str] | None = None) -> str:
    """What a secret's reference points to now; files are relative to the config's directory. Usage when it is gone."""
    if secret.text is not None:
        return secret.text
    if secret.env is not None:
        value = (os.environ if env is None else env).get(secret.env)
        if not value:
            raise Usage(f"The environment variable {secret.env} is not set.")
        return value
    file = _beside(base, secret.file or "")
    try:
        with file.open("rb") as source:
            return source.read(MAX_SECRET).decode().strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise Usage(f"The secret's file {file} cannot be read: {type(fault).__name__}.") from None


def read_profiles(file: Path) -> dict[str, tuple[str | None, str | None]]:
    """The url and token file of every ``[profiles.NAME]``; empty without a file. The other settings are not judged."""
    if not file.exists():
        return {}
    raw = read_bytes(file)
    table = read_toml(raw).get("profiles", {})
    faults: list[Fault] = []
    known = {}
    for name, written in (table if isinstance(table, dict) else {}).items():
        profile = read_section(Profile, written, f"profiles.{quoted_key(name)}", {}, faults)
        if profile is not None:
            known[name] = (profile.url, profile.token_file)
    if faults:
        raise Invalid(f"{file}: {refusal(faults).detail}", errors=tuple(with_lines(faults, raw)))
    return known
