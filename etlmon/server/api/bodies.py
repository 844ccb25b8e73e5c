"""Request bodies: read within a time and a size, decompressed within a bound, parsed without a surprise.

Malformed JSON is 400, well-formed but wrong is 422; an unknown key names the nearest known one.
"""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from etlmon.core.errors import EtlmonError, Fault, Invalid, Malformed, TooLarge, UnsupportedMedia
from etlmon.core.text import nearest, sentence
from etlmon.server.api.problems import Late

T = TypeVar("T")

READ_DEADLINE_S = 10.0
SLOWEST_BYTES_S = 100_000
"""A body that goes on arriving at this pace may take longer than the deadline."""
MAX_INFLATED = 8 * 1024 * 1024
OFF_LOOP_BYTES = 16 * 1024
JSON_TYPES = frozenset({"application/json"})


async def read_body(request: web.BaseRequest, limit: int, deadline_s: float = READ_DEADLINE_S) -> bytes:
    """The body's bytes; TooLarge above ``limit``, Late when it dawdles, Malformed when it breaks off."""
    declared = request.content_length
    if declared is not None and declared > limit:
        raise TooLarge(f"The body has {declared} bytes and this path takes {limit}: send it in parts.")
    if request.content.is_eof():  # it came with its head, as small ones do
        body = request.content.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
        return body
    loop = asyncio.get_running_loop()
    started, parts, size = loop.time(), list[bytes](), 0
    try:
        async with asyncio.timeout(deadline_s) as deadline:
            async for part in request.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                deadline.reschedule(started + deadline_s + size / SLOWEST_BYTES_S)
    except TimeoutError:
        raise Late(f"The body did not arrive within {deadline_s:g} s.") from None
    except (web.RequestPayloadError, ConnectionError, web.HTTPException) as broken:
        raise Malformed("The body broke off or its framing is wrong.") from broken
    return b"".join(parts)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body has more than the {limit} bytes that this path takes: send it in parts.")


async def inflate(body: bytes, encoding: str) -> bytes:
    """The bytes of a gzip or deflate body, bounded; large ones are inflated off the loop."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedMedia(f"Content-Encoding {encoding[:40]!r} is not read here: use gzip, deflate or none.")
    if len(body) > OFF_LOOP_BYTES:
        return await asyncio.to_thread(_inflate, body, encoding)
    return _inflate(body, encoding)


def _inflate(body: bytes, encoding: str) -> bytes:
    raw = encoding == "deflate" and (len(body) < 2 or body[0] & 0x0F != 8 or (body[0] << 8 | body[1]) % 31)
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32)
    try:
        out = inflater.decompress(body, MAX_INFLATED + 1)
    except zlib.error as fault:
        raise Malformed(f"The body is not valid {encoding}.") from fault
    if len(out) > MAX_INFLATED:
        raise TooLarge(f"The body unpacks to more than {MAX_INFLATED} bytes: send it in parts.")
    if not inflater.eof or inflater.unused_data:
        raise Malformed(f"The body is not one whole {encoding} stream.")
    return out


def check_media(request: web.BaseRequest) -> None:
    """UnsupportedMedia unless the body is said to be JSON: other types need no CORS preflight in a browser."""
    if request.content_type not in JSON_TYPES or "Content-Type" not in request.headers:
        raise UnsupportedMedia("Send the body as JSON, with the header 'Content-Type: application/json'.")
    if request.charset is not None and request.charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMedia("Send the body as JSON in UTF-8.")


def check_utf8(body: bytes) -> None:
    """Malformed unless the bytes are UTF-8: for handlers that decode them themselves."""
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None


def parse_json(body: bytes) -> Any:
    """Any JSON value. NaN, depth bombs and wrong text are Malformed; doubled keys and overflowing numbers Invalid."""
    try:
        value = json.loads(body, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_number)
    except EtlmonError:
        raise
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    except json.JSONDecodeError as fault:
        raise Malformed(f"The body is not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}.") from None
    except ValueError:
        raise Malformed("The body holds a number that is too long to read.") from None
    return _mended(value) if b"\\u" in body else value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Invalid(f"The key {doubled[:80]!r} is given twice.", errors=(Fault(doubled[:80], "given twice"),))
    return found


def _constant(word: str) -> Any:
    raise Malformed(f"The body is not JSON: {word} is not a JSON number.")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Invalid(f"The number {text[:40]} is out of range.")
    return number


def _mended(value: Any) -> Any:
    """Lone surrogates become U+FFFD, everywhere in the value."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_mended(key): _mended(item) for key, item in value.items()}
        case list():
            return [_mended(item) for item in value]
        case _:
            return value


def parse_body(body: bytes, cls: type[T]) -> T:
    """The body as ``cls``; Invalid with every unknown key's nearest known name, or the first wrong value."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    known = set(cls.__struct_encode_fields__)  # type: ignore[attr-defined]  # every caller gives a Struct
    faults = unknown_keys(value, known)
    if faults:
        raise Invalid(sentence(faults[0].message), errors=faults)
    try:
        return msgspec.convert(value, cls)
    except msgspec.ValidationError as fault:
        raise as_invalid(fault) from None


def unknown_keys(given: Any, known: set[str], noun: str = "key") -> tuple[Fault, ...]:
    """A fault for each name in ``given`` that is not in ``known``."""
    faults = []
    for key in given:
        if key not in known:
            close = nearest(key, sorted(known))
            hint = f"did you mean {close}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
            faults.append(Fault(key[:80], f"{noun} {key[:80]!r} is not known: {hint}"))
    return tuple(faults)


def as_invalid(fault: msgspec.ValidationError) -> Invalid:
    """msgspec's sentence split into the place (dotted) and what is wrong there."""
    message, _, place = str(fault).partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    detail = f"{path}: {message}" if path else message
    return Invalid(sentence(detail), errors=(Fault(path, message),))
