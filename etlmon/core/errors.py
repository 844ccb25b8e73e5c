"""Every fault etlmon raises on purpose, in one tree.

EtlmonError
 ├ Malformed            400  the request cannot be read
 ├ NotAuthenticated     401  no token, or not one of ours
 ├ Forbidden            403  the role or the owner does not allow it
 ├ NotFound             404
 ├ Conflict             409  the state does not allow it
 ├ TooLarge             413
 ├ UnsupportedMedia     415
 ├ Invalid              422  well-formed, but wrong; carries every fault with its path
 ├ TooManyRequests      429  try again after ``retry_after_s``
 ├ Unavailable          503  nothing was taken; try again after ``retry_after_s``
 │  └ StoreUnavailable  503  the store cannot commit (disk full, locked, broken)
 ├ DeadlineExceeded     504  the answer was not ready in time
 ├ Unreachable           –   no server answers (clients)
 ├ TimedOut              –   a wait on the command line ran out
 ├ Usage                 –   the command line makes no sense
 └ StoreRefused          –   a store file that must not be opened as it is

Each carries ``detail``: one sentence that says what is wrong and what to do. The server maps it to
problem+json (RFC 9457), the command line prints it and exits with ``exit_code`` (interface.md).
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong at one place; ``path`` is dotted (``monitoring.logs.level``, ``reports[3].at``)."""

    path: str
    message: str


class EtlmonError(Exception):
    """The root: ``detail`` is one sentence a person can act on."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[Fault, ...] = (),
        retry_after_s: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.extra = extra or {}


class Malformed(EtlmonError):
    """The request cannot be read at all."""

    status = 400
    title = "Malformed request"


class NotAuthenticated(EtlmonError):
    """No token was given, or it is not one of this server's."""

    status = 401
    title = "Not authenticated"
    exit_code = 4


class Forbidden(EtlmonError):
    """The token is known and does not allow this."""

    status = 403
    title = "Forbidden"
    exit_code = 4


class NotFound(EtlmonError):
    """There is no such thing, or none that this token may see."""

    status = 404
    title = "Not found"
    exit_code = 5


class Conflict(EtlmonError):
    """The present state does not allow it."""

    status = 409
    title = "Conflict"
    exit_code = 6


class TooLarge(EtlmonError):
    """The body is larger than this route takes."""

    status = 413
    title = "Too large"


class UnsupportedMedia(EtlmonError):
    """The body's content type or encoding is not one this route reads."""

    status = 415
    title = "Unsupported media type"


class Invalid(EtlmonError):
    """Well-formed, but wrong: ``errors`` holds every fault found."""

    status = 422
    title = "Invalid request"
    exit_code = 2


class TooManyRequests(EtlmonError):
    """A rate limit was hit."""

    status = 429
    title = "Too many requests"


class Unavailable(EtlmonError):
    """Nothing was taken; the same request may go through later."""

    status = 503
    title = "Unavailable"


class StoreUnavailable(Unavailable):
    """The store cannot commit now."""

    title = "Store unavailable"


class DeadlineExceeded(EtlmonError):
    """The answer was not ready within the request's deadline."""

    status = 504
    title = "Deadline exceeded"


class Unreachable(EtlmonError):
    """No server answers at the URL."""

    title = "Server unreachable"
    exit_code = 3


class TimedOut(EtlmonError):
    """A wait on the command line ran out."""

    title = "Timed out"
    exit_code = 124


class Usage(EtlmonError):
    """The command line makes no sense."""

    title = "Usage"
    exit_code = 2


class StoreRefused(EtlmonError):
    """A store file that must not be opened as it is; ``detail`` names the next step."""

    title = "Store refused"
