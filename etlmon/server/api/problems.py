"""Errors as ``application/problem+json`` (RFC 9457): one shape for every refusal, and nothing of the inside in it."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from etlmon.core import errors
from etlmon.core.errors import EtlmonError, Fault

PROBLEM_JSON = "application/problem+json"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of every refusal. ``detail`` is one sentence a person can act on; some carry further keys (``ack``)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    request_id: str | None = None


class NotHere(EtlmonError):
    """This server is not the one that the request names (RFC 9110 §15.5.20)."""

    status = 421
    title = "Misdirected request"


class MethodNotAllowed(EtlmonError):
    """The path is known, the method is not."""

    status = 405
    title = "Method not allowed"


class Late(EtlmonError):
    """The body did not arrive in time."""

    status = 408
    title = "Request timeout"


def protect(response: web.StreamResponse) -> None:
    """Give an answer the headers that keep browsers from doing more with it than show it; its own win."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "etlmon"


def problem(error: EtlmonError, request_id: str | None) -> web.Response:
    """The answer that tells of ``error``."""
    body: dict[str, Any] = msgspec.to_builtins(
        Problem(
            type="about:blank",
            title=error.title,
            status=error.status,
            detail=error.detail,
            errors=error.errors,
            request_id=request_id,
        )
    )
    body.update(error.extra)
    response = web.Response(status=error.status, body=msgspec.json.encode(body), content_type=PROBLEM_JSON)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="etlmon"'
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    protect(response)
    return response


def from_aiohttp(refusal: web.HTTPException) -> EtlmonError:
    """The house's error for one that aiohttp raised."""
    match refusal.status:
        case 404:
            return errors.NotFound("There is nothing at this path: GET /api/openapi.json lists what there is.")
        case 405:
            allowed = ", ".join(sorted(getattr(refusal, "allowed_methods", ())))
            return MethodNotAllowed(f"This path takes {allowed or 'other methods'} only.")
        case 413:
            return errors.TooLarge("The body is larger than this path takes.")
        case status if status < 500:
            return errors.Malformed(f"The request is not one that can be answered: {HTTPStatus(status).phrase}.")
    return EtlmonError("The request could not be answered.")
