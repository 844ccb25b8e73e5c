"""Where a client finds its server, and why none answered there, in a sentence that a person can act on."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from etlmon.core import errors


class HasAddress(Protocol):
    """What a client needs of ``host.endpoint.Endpoint``."""

    @property
    def url(self) -> str | None: ...
    @property
    def token(self) -> str | None: ...
    @property
    def origin(self) -> str: ...


Where = HasAddress | Callable[[], HasAddress]
"""A server's place, or what gives it: asked before each new connection, for a server may come back elsewhere."""


def look_up(where: Where) -> HasAddress:
    """The place as it is now."""
    if callable(where):
        found: HasAddress = where()
        return found
    return where


def why_away(error: Exception, url: str, timeout_s: float) -> str:
    """What kept a connection to ``url`` from being made, or ended it: http.client's, a socket's or aiohttp's error."""
    error = _root(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate of {url} is not trusted: {error.verify_message}. Nothing was sent."
    if isinstance(error, ssl.SSLError):
        return f"{url} does not speak TLS as etlmon expects: {error.reason or error}."
    if isinstance(error, TimeoutError):
        return f"The server at {url} did not answer within {timeout_s:g} s."
    if isinstance(error, ConnectionRefusedError):
        return f"No server answers at {url}: start one with `etlmon server`, or give --url or ETLMON_URL."
    if isinstance(error, socket.gaierror):
        return f"The host of {url} is not known ({error.strerror}): give another with --url or ETLMON_URL."
    if isinstance(error, ConnectionError | http.client.IncompleteRead):
        return f"The connection to {url} broke off: is `etlmon server` running?"
    because = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else ""
    return f"The connection to {url} failed{because}."


def what_answers(url: str, sent: str) -> errors.Unreachable:
    """Something answered that is no etlmon server: ``sent`` is what it sent."""
    return errors.Unreachable(f"What answers at {url} is no etlmon server: it sent {sent}. Check --url.")


def _root(error: Exception) -> Exception:
    """The socket's or TLS's own error inside one of aiohttp's, whose texts are not for people."""
    for name in ("certificate_error", "os_error"):
        inner = getattr(error, name, None)
        if isinstance(inner, Exception):
            return inner
    return error
