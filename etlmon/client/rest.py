"""The REST client: small, synchronous, standard library only: a command starts fast, the TUI calls it in a thread.

One Client holds one kept-alive connection and belongs to one thread. Every failure is one of core.errors.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from etlmon.client.away import HasAddress, Where, look_up, what_answers, why_away
from etlmon.core import errors
from etlmon.host.endpoint import masked

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""An answer larger than this is refused: a page of 1,000 whole jobs is about 10 MB."""
MAX_TARGET_BYTES = 8000
"""Servers cut a request line at 8,190 bytes (aiohttp's default)."""
MAX_LINE_BYTES = 8 * 1024 * 1024
"""The longest line of a stream."""
READ_BYTES = 65_536
IDLE_S = 2.0
"""A connection idle for longer is not trusted with a request that must not be sent twice."""
PAGE = 1000
"""The most items that the server gives at once."""

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]

CLASSES: dict[int, type[errors.EtlmonError]] = {
    cls.status: cls
    for cls in (
        errors.Malformed,
        errors.NotAuthenticated,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.TooLarge,
        errors.UnsupportedMedia,
        errors.Invalid,
        errors.TooManyRequests,
        errors.Unavailable,
        errors.DeadlineExceeded,
    )
}
"""Which fault of core.errors an HTTP status stands for."""


AWAY = (errors.Unreachable, errors.Unavailable, errors.TooManyRequests, errors.DeadlineExceeded)
"""What another try, a little later, may heal."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A server's URL taken apart. ``prefix`` is the path in front of ``/api`` (behind a proxy), or empty."""

    secure: bool
    host: str
    port: int
    prefix: str

    @property
    def url(self) -> str:
        """The URL again, without anything secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.prefix}"


def parse_address(url: str) -> Address:
    """A server URL as people write it; Usage with what is wrong with it."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise errors.Usage(f"The server URL cannot be read: {error}.") from error
    if parts.username is not None or parts.password is not None:
        raise errors.Usage(
            f"The server URL {masked(url)} carries a user name or password; "
            "give a token with --token-file or ETLMON_TOKEN."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.Usage(
            f"{masked(url)!r} is no server URL; it looks like http://127.0.0.1:8081 or https://etlmon.example.org."
        )
    if any(ord(char) <= 0x20 or char in "\\\x7f" for char in url):
        raise errors.Usage(f"The server URL {masked(url)!r} contains blanks, control characters or a backslash.")
    secure = parts.scheme == "https"
    return Address(
        secure=secure,
        host=parts.hostname,
        port=port or (443 if secure else 80),
        prefix=quote(parts.path.rstrip("/"), safe="/%~"),
    )


def address_of(endpoint: HasAddress) -> Address:
    """The address of a server that is known; Unreachable when none is."""
    if not endpoint.url:
        raise errors.Unreachable(
            "No etlmon server is known here: start one with `etlmon server`, or give --url or ETLMON_URL."
        )
    return parse_address(endpoint.url)


class Client:
    """Talks to one server. ``timeout_s`` bounds each connect and each wait for an answer."""

    def __init__(self, where: Where, *, timeout_s: float = 10.0) -> None:
        self.where = where
        self.endpoint = look_up(where)
        self.address = address_of(self.endpoint)
        self.timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0
        self.server_at: str | None = None
        """The Date header of the last answer."""

    @property
    def url(self) -> str:
        """The server's URL."""
        return self.address.url

    def get(self, path: str, params: Params = (), *, accept: tuple[int, ...] = ()) -> Any:
        """The decoded JSON of a GET; statuses in ``accept`` are answers too, not errors."""
        return self._json("GET", path, params, None, accept)

    def post(self, path: str, params: Params = (), body: Any = None) -> Any:
        """POST ``body`` as JSON (none: an empty object)."""
        return self._json("POST", path, params, {} if body is None else body, ())

    def put(self, path: str, params: Params = (), body: Any = None) -> Any:
        """PUT ``body`` as JSON."""
        return self._json("PUT", path, params, {} if body is None else body, ())

    def patch(self, path: str, params: Params = (), body: Any = None) -> Any:
        """PATCH with ``body`` as JSON."""
        return self._json("PATCH", path, params, {} if body is None else body, ())

    def delete(self, path: str, params: Params = ()) -> Any:
        """DELETE; None when the answer has no body."""
        return self._json("DELETE", path, params, None, ())

    def items(self, path: str, params: Params = (), *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The items of a list, page after page, at most ``limit`` of them (None: all)."""
        left, cursor = limit, None
        while left is None or left > 0:
            asked = [*_pairs(params), ("limit", PAGE if left is None else min(left, PAGE))]
            page = self.get(path, asked if cursor is None else [*asked, ("cursor", cursor)])
            items = self._items(page)
            yield from items if left is None else items[:left]
            left = None if left is None else left - len(items)
            following = page.get("nextCursor")
            if following is None or following == cursor:
                return
            cursor = following

    def listed(self, path: str, params: Params = ()) -> list[dict[str, Any]]:
        """The items of a list that comes whole."""
        return self._items(self.get(path, params))

    def _items(self, page: Any) -> list[dict[str, Any]]:
        items = page.get("items") if isinstance(page, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._strange("a list without items")
        return items

    def records(self, path: str, params: Params = (), *, quiet_s: float | None = None) -> Iterator[dict[str, Any]]:
        """The objects of an NDJSON answer as they come; see ``stream``."""
        for line in self.stream(path, params, quiet_s=quiet_s):
            yield self._decoded(line, "a line")

    def stream(self, path: str, params: Params = (), *, quiet_s: float | None = None) -> Iterator[bytes]:
        """The lines of an NDJSON answer as they come, on a connection of its own.

        Ends when the server ends it. TimedOut when nothing came for ``quiet_s``; Unreachable when it breaks off.
        """
        connection = self._connect(self.timeout_s)
        rest = b""
        try:
            answer = self._exchange(connection, "GET", self._target(path, params), None)
            self._check(answer, answer.read(MAX_ANSWER_BYTES) if answer.status >= 300 else b"", ())
            if quiet_s is not None and connection.sock is not None:
                connection.sock.settimeout(quiet_s)
            while chunk := answer.read1(READ_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line for line in lines if line.strip())
                if len(rest) > MAX_LINE_BYTES:
                    raise self._strange(f"a line of more than {MAX_LINE_BYTES // 2**20} MiB")
        except TimeoutError as error:
            if quiet_s is None:
                raise self._unreachable(error) from error
            raise errors.TimedOut(f"Nothing came for {quiet_s:g} s.") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if rest.strip():
            raise self._unreachable(http.client.IncompleteRead(rest))

    def close(self) -> None:
        """Close the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _json(self, method: str, path: str, params: Params, body: Any, accept: tuple[int, ...]) -> Any:
        encoded = None if body is None else msgspec.json.encode(body)
        answer, raw = self._request(method, self._target(path, params), encoded)
        self._check(answer, raw, accept)
        if not raw and answer.status in (202, 204, 205):
            return None
        return self._decoded(raw, f"HTTP {answer.status} with {_kind(answer)}")

    def _decoded(self, raw: bytes, what: str) -> dict[str, Any]:
        """The JSON object that every answer and every line of a stream is."""
        try:
            decoded = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._strange(f"{what} that is no JSON") from error
        if not isinstance(decoded, dict):
            raise self._strange(f"{what} that is no JSON object")
        return decoded

    def _target(self, path: str, params: Params) -> str:
        query = urlencode([(key, _text(value)) for key, value in _pairs(params) if value is not None], errors="replace")
        target = self.address.prefix + path + (f"?{query}" if query else "")
        if len(target) > MAX_TARGET_BYTES:
            raise errors.Usage(
                f"The request line would be {len(target)} bytes long; shorten the filter (at most {MAX_TARGET_BYTES})."
            )
        return target

    def _request(self, method: str, target: str, body: bytes | None) -> tuple[http.client.HTTPResponse, bytes]:
        kept = self._connection
        if kept is not None and method != "GET" and time.monotonic() - self._used_at > IDLE_S:
            self.close()
            kept = None
        connection = kept or self._connect(self.timeout_s)
        self._connection = connection
        try:
            answer = self._exchange(connection, method, target, body)
            raw = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            stale = isinstance(error, ConnectionError | http.client.RemoteDisconnected | http.client.CannotSendRequest)
            if kept is not None and method == "GET" and stale:
                return self._request(
                    method, target, body
                )  # the kept connection had been closed: once more on a fresh one
            raise self._unreachable(error) from error
        if len(raw) > MAX_ANSWER_BYTES:
            self.close()
            raise self._strange(f"more than {MAX_ANSWER_BYTES // 2**20} MiB")
        self._used_at = time.monotonic()
        if answer.will_close:
            self.close()
        return answer, raw

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        self.endpoint = look_up(self.where)
        self.address = address_of(self.endpoint)
        host, port = self.address.host, self.address.port
        if self.address.secure:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json, application/x-ndjson", "User-Agent": "etlmon"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {header_safe(self.endpoint.token, self.endpoint.origin)}"
        connection.request(method, target, body=body, headers=headers)
        answer = connection.getresponse()
        self.server_at = answer.getheader("Date")
        return answer

    def _check(self, answer: http.client.HTTPResponse, raw: bytes, accept: tuple[int, ...]) -> None:
        if 200 <= answer.status < 300 or answer.status in accept:
            return
        if 300 <= answer.status < 400:
            place = answer.getheader("Location") or "nowhere"
            raise self._strange(f"HTTP {answer.status}, a redirect to {place}, which etlmon does not follow")
        raise self._fault(answer, raw)

    def _fault(self, answer: http.client.HTTPResponse, raw: bytes) -> errors.EtlmonError:
        """The error that a problem+json stands for."""
        try:
            problem = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            problem = None
        if not isinstance(problem, dict) or "detail" not in problem:
            return self._strange(f"HTTP {answer.status} with {_kind(answer)}")
        cls = CLASSES.get(answer.status, errors.EtlmonError)
        detail = str(problem["detail"])
        if cls is errors.NotAuthenticated and not self.endpoint.token:
            detail = (
                "The server wants a token, and none was found: use --token-file or ETLMON_TOKEN, "
                "or run as the user who runs the server."
            )
        elif cls is errors.NotAuthenticated and detail.startswith("This needs a token"):
            whence = getattr(self.endpoint, "token_origin", None)
            detail = f"The server refused the token{f' from {whence}' if whence else ''}: it is revoked or unknown."
        known = ("type", "title", "status", "detail", "errors")
        return cls(
            detail,
            errors=tuple(_faults(problem.get("errors"))),
            retry_after_s=_seconds(answer.getheader("Retry-After")),
            extra={key: value for key, value in problem.items() if key not in known},
        )

    def _unreachable(self, error: Exception) -> errors.EtlmonError:
        if isinstance(error, http.client.BadStatusLine | http.client.LineTooLong) and not isinstance(
            error, ConnectionError
        ):
            return self._strange("something that is no HTTP")
        return errors.Unreachable(why_away(error, self.url, self.timeout_s))

    def _strange(self, what: str) -> errors.Unreachable:
        return what_answers(self.url, what)


def _pairs(params: Params) -> list[tuple[str, Any]]:
    """Parameters as pairs; a list or tuple as a value repeats its key."""
    pairs = list(params.items()) if isinstance(params, Mapping) else list(params)
    flat: list[tuple[str, Any]] = []
    for key, value in pairs:
        flat += [(key, each) for each in value] if isinstance(value, list | tuple) else [(key, value)]
    return flat


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _faults(listed: Any) -> Iterator[errors.Fault]:
    for fault in listed if isinstance(listed, list) else ():
        if isinstance(fault, dict):
            yield errors.Fault(str(fault.get("path", "")), str(fault.get("message", "")))


def _kind(answer: http.client.HTTPResponse) -> str:
    return (answer.getheader("Content-Type") or "no content type").split(";")[0][:80]


def _seconds(header: str | None) -> float | None:
    try:
        return float(header) if header else None
    except ValueError:
        return None


def header_safe(token: str, origin: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise errors.NotAuthenticated(
            f"The token ({origin}) holds characters that no token has; make a new one with `etlmon tokens create`."
        )
    return token
