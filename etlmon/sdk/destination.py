"""Which server a process reports to, found anew when it is unreachable, and what a spool written for it is keyed by."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from etlmon.core.errors import EtlmonError
from etlmon.sdk.guard import warn_once
from etlmon.sdk.mark import Header

if TYPE_CHECKING:
    from etlmon.host.endpoint import Endpoint

EndpointSource = Callable[[], "Endpoint"]
NO_TOKEN: Final = ""
HERE: Final = "here"
LOCAL: Final = "data-dir:"


class Standing(Enum):
    """How a spool stands to the endpoint that is known now."""

    OURS = "ours"
    """It may be delivered there."""
    WAIT = "wait"
    """Its server is not up now; it may be, later."""
    FOREIGN = "foreign"
    """It is for another server or another token."""


def discover() -> Endpoint:
    """The endpoint that flags, environment and files name now."""
    from etlmon.host.endpoint import find_endpoint

    return find_endpoint()


def look_up(source: EndpointSource) -> Endpoint | None:
    """What ``source`` names now; None (told once) when it is misconfigured: then reports wait in the spool."""
    try:
        return source()
    except EtlmonError as fault:
        warn_once("endpoint", f"etlmon: reports are kept on disk: {fault.detail}")
    except Exception as fault:  # noqa: BLE001 - whatever is wrong with what names the server, reports are kept
        warn_once("endpoint", f"etlmon: reports are kept on disk: {type(fault).__name__}: {fault}")
    return None


def fingerprint_of(token: str | None) -> str:
    """The SHA-256 of a token in hex; empty for none. The token itself never reaches a spool."""
    if not token:
        return NO_TOKEN
    from hashlib import sha256

    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def key_of(endpoint: Endpoint) -> str:
    """What tells one server from another for a spool.

    A local server may come back on another port: as long as it is found through the same data directory it is the same
    one, so that directory is the key. A server that was named by URL is that URL. HERE stands for whatever server this
    machine may yet have: none was named, and none is up.
    """
    if endpoint.origin == "default":
        return HERE
    directory, _, name = endpoint.origin.rpartition("/")
    if name == "server.json":
        return f"{LOCAL}{directory}"
    return f"url:{(endpoint.url or '').rstrip('/').lower()}"


def header_for(endpoint: Endpoint | None, *, source: str, pid: int, now: int) -> Header:
    """The header of a spool for ``endpoint``."""
    from socket import gethostname

    return Header(
        key=key_of(endpoint) if endpoint is not None else "",
        url=endpoint.shown_url if endpoint is not None else "",
        fingerprint=fingerprint_of(endpoint.token) if endpoint is not None else NO_TOKEN,
        source=source,
        host=gethostname(),
        pid=pid,
        created_at=now,
    )


def standing(header: Header, endpoint: Endpoint) -> Standing:
    """Whether reports written for ``header`` may go to ``endpoint``: the same server, and the same token.

    A spool that was begun with no token at all (before the server's first start, or while it was down and had named
    none) was meant for whatever token its own user finds for that server.
    """
    from etlmon.host.paths import CLIENT_FILE

    key = key_of(endpoint)
    if header.key in ("", HERE):
        same_server = not key.startswith("url:") or endpoint.origin == str(CLIENT_FILE)
    elif header.key.startswith(LOCAL) and key == HERE:
        return Standing.WAIT  # its server is down; what listens at the default port instead may be a stranger
    else:
        same_server = header.key == key
    same_token = header.fingerprint in (NO_TOKEN, fingerprint_of(endpoint.token))
    if same_server and key == HERE and not same_token:
        return Standing.WAIT
    return Standing.OURS if same_server and same_token else Standing.FOREIGN
