"""One request to one endpoint over a connection that is kept: no redirects, no proxies, every wait bounded."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from etlmon.host.clock import monotonic_s, now_ms

MAX_ANSWER = 4 * 1024 * 1024
READ = 65536


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. ``retry_after_s``: when the endpoint said to wait."""

    status: int
    body: bytes
    retry_after_s: float | None = None


class Endpoint:
    """Where to, for one thread. ``overdue`` may be called from another one."""

    def __init__(self, url: str, method: str, headers: dict[str, str], timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._secure = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._method = method
        self._headers = headers
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._deadline: float | None = None

    def send(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Send and wait for the whole answer; OSError or HTTPException when there is none in time."""
        self._deadline = monotonic_s() + self._timeout_s
        try:
            if self._connection is not None:
                with contextlib.suppress(ConnectionError):  # it was closed while it was not needed: that is no try
                    return self._send(body, headers)
                self.close()
            return self._send(body, headers)
        except BaseException:
            self.close()
            raise
        finally:
            self._deadline = None

    def _send(self, body: bytes, headers: dict[str, str]) -> Answer:
        connection = self._connection or self._connect()
        self._connection = connection
        connection.request(self._method, self._path, body, {**self._headers, **headers})
        response = connection.getresponse()
        parts, size = list[bytes](), 0
        while part := response.read1(READ):
            size += len(part)
            if size > MAX_ANSWER:
                raise http.client.HTTPException(f"the answer is longer than {MAX_ANSWER} bytes")
            parts.append(part)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # its part only: without this the connection could not be used again
        if response.will_close:
            self.close()
        wait = retry_after(response.getheader("Retry-After"))
        return Answer(status=response.status, body=b"".join(parts), retry_after_s=wait)

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def overdue(self) -> None:
        """End a request that has had its time: an endpoint that sends a byte now and then must not hold it."""
        deadline = self._deadline
        if deadline is not None and monotonic_s() > deadline:
            self.interrupt()

    def interrupt(self) -> None:
        """End the request that is under way."""
        connection = self._connection
        if connection is not None and isinstance(connection.sock, socket.socket):
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of them or an HTTP date; None when it says neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, at.timestamp() - now_ms() / 1000)


def found_at(document: Any, path: str) -> Any:
    """What a dotted path leads to; None when it leads nowhere."""
    for name in path.split(".") if path else ():
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document
