"""Which server to talk to, with which token, and where both were found. Opens files only; it never connects.

Imports nothing heavy: the SDK asks here once in every program that it is a guest of.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from etlmon.core.errors import Usage
from etlmon.core.text import hint, sentence
from etlmon.host import paths

DEFAULT_URL = "http://127.0.0.1:8081"
DEFAULT_ORIGIN = "default"
"""Where the url is from when nothing named one."""
MAX_FILE = 65_536
"""Bytes; none of the small files read here is ever longer."""


class ServerFile(msgspec.Struct, frozen=True):
    """``server.json``: what a serving server tells local commands."""

    url: str
    pid: int
    version: str
    epoch: str


class ClientFile(msgspec.Struct, frozen=True):
    """The system-wide client file: what every user of the machine may know."""

    url: str
    token: str | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A server's address and a token for it. ``origin`` says where the url came from, ``token_origin`` the token.

    ``warnings`` are sentences for a person. The token never shows in the repr.
    """

    url: str | None
    token: str | None
    origin: str
    token_origin: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def may_move(self) -> bool:
        """Whether a server's own ``server.json`` named the url: it names another when the server restarts elsewhere."""
        return Path(self.origin).name == "server.json"

    @property
    def shown_url(self) -> str:
        """The URL as it may be shown: user name and password are starred out."""
        return masked(self.url or "")

    def __repr__(self) -> str:
        """Where and whence, never the token."""
        return f"Endpoint({self.shown_url!r} from {self.origin}, token from {self.token_origin})"


FileT = TypeVar("FileT", ServerFile, ClientFile)


class _Found(msgspec.Struct, frozen=True):
    """A url or token, and the place that named it."""

    value: str
    origin: str
    warnings: tuple[str, ...] = ()


def masked(url: str) -> str:
    """A URL with what stands before an ``@`` in its authority starred out."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    return f"{scheme}{separator}{authority}{slash}{path}"


def find_endpoint(
    *,
    url: str | None = None,
    token: str | None = None,
    profile: str | None = None,
    data_dir: str | Path | None = None,
    config: str | Path | None = None,
    token_file: str | Path | None = None,
) -> Endpoint:
    """The server to talk to, each of url and token by: flag > environment > profile > what is found > default.

    A token that was found (not given) goes only to the server that it was found with: a url from elsewhere gets the
    local admin token only if it names the local server. Raises Usage for a profile or token file that is not there.
    """
    home = paths.data_dir(data_dir)
    chosen = _profile(profile, config, home)
    given_url = _given(url, "--url", "ETLMON_URL") or (chosen.url if chosen else None)
    given_token = _given_token(token, token_file) or (chosen.token if chosen else None)
    found_url, found_token = _found_here(home, given_url)
    address = given_url or found_url or _Found(DEFAULT_URL, DEFAULT_ORIGIN)
    secret = given_token or found_token
    warnings = (*address.warnings, *(secret.warnings if secret else ()), *_overridden(chosen, address))
    return Endpoint(
        url=address.value,
        token=secret.value if secret else None,
        origin=address.origin,
        token_origin=secret.origin if secret else None,
        warnings=warnings,
    )


def _given(value: str | None, flag: str, variable: str) -> _Found | None:
    if value:
        return _Found(value, flag)
    set_there = os.environ.get(variable)
    return _Found(set_there, variable) if set_there else None


def _given_token(token: str | None, token_file: str | Path | None) -> _Found | None:
    if not token and token_file:
        return _from_file(Path(token_file), "--token-file")
    return _given(token, "--token-file", "ETLMON_TOKEN")


class _Profile(msgspec.Struct, frozen=True):
    name: str
    url: _Found | None
    token: _Found | None


def _profile(name: str | None, config: str | Path | None, home: Path) -> _Profile | None:
    wanted = name or os.environ.get("ETLMON_PROFILE")
    if not wanted:
        return None
    from etlmon.host.config_file import read_profiles  # tomllib: only for those who use profiles

    file = paths.config_file(config, home)
    known = read_profiles(file)
    if wanted not in known:
        raise Usage(sentence(f"There is no [profiles.{wanted}] in {file}{hint(wanted, known)}"))
    url, token_file = known[wanted]
    origin = f"profile {wanted}"
    secret = _from_file(file.parent / Path(token_file).expanduser(), origin) if token_file else None
    return _Profile(wanted, _Found(url, origin) if url else None, secret)


def _overridden(profile: _Profile | None, address: _Found) -> tuple[str, ...]:
    if profile is None or profile.url is None or address is profile.url:
        return ()
    return (f"{address.origin} names another server than the profile {profile.name}, and wins.",)


def _found_here(home: Path, given_url: _Found | None) -> tuple[_Found | None, _Found | None]:
    """The url and token that this machine offers: the local server's, else the system-wide client file's."""
    server = read_server_file(home)
    if server is not None:
        if given_url is not None and not _same_server(given_url.value, server.url):
            return None, None
        return _Found(server.url, str(home / "server.json")), _local_token(home)
    client = _read_json(paths.CLIENT_FILE, ClientFile)
    if client is None or (given_url is not None and not _same_server(given_url.value, client.url)):
        return None, None
    token = _Found(client.token, str(paths.CLIENT_FILE)) if client.token else None
    return _Found(client.url, str(paths.CLIENT_FILE)), token


def _local_token(home: Path) -> _Found | None:
    try:
        return _from_file(home / "admin.token", str(home / "admin.token"))
    except Usage:
        return None  # none yet, or another user's: the server then says what it needs


def _same_server(one: str, other: str) -> bool:
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, int] | str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url
    host = parts.hostname or ""
    return parts.scheme, "127.0.0.1" if host == "localhost" else host, port


def read_token_file(path: str | Path) -> str:
    """The token in a file; Usage when there is none to read."""
    place = Path(path).expanduser()
    try:
        with place.open("rb") as file:
            raw = file.read(MAX_FILE)
    except OSError as fault:
        raise Usage(f"The token file {place} cannot be read: {fault.strerror}.") from fault
    text = raw.decode("ascii", errors="replace").strip()
    if not text or len(text) > 512 or not text.isascii() or not text.isprintable() or " " in text:
        raise Usage(f"The token file {place} must hold one token and nothing else.")
    return text


def token_file_warning(path: str | Path) -> str | None:
    """A sentence when others than the owner may read the file."""
    place = Path(path).expanduser()
    mode = place.stat().st_mode & 0o777
    if mode & 0o077:
        return f"{place} can be read by others (mode {mode:04o}): run chmod 600 {place}"
    return None


def _from_file(path: Path, origin: str) -> _Found:
    secret, warning = read_token_file(path), token_file_warning(path)
    return _Found(secret, origin, (warning,) if warning else ())


def read_server_file(directory: Path) -> ServerFile | None:
    """What the server of a data directory wrote there; None when it did not, or when it cannot be understood."""
    return _read_json(directory / "server.json", ServerFile)


def write_server_file(directory: Path, url: str, pid: int, version: str, epoch: str) -> None:
    """Tell local commands where the server is: in one rename, readable by its owner alone."""
    content = {"url": url, "pid": pid, "version": version, "epoch": epoch}
    write_private(directory / "server.json", msgspec.json.encode(content) + b"\n")


def remove_server_file(directory: Path, pid: int) -> None:
    """Take ``server.json`` away, if the process ``pid`` wrote it."""
    written = read_server_file(directory)
    if written is not None and written.pid == pid:
        (directory / "server.json").unlink(missing_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a whole file that only its owner may read; a reader sees the old one or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _read_json(path: Path, form: type[FileT]) -> FileT | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE), type=form)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # absent, another user's, half-written or foreign: as if it were not there
