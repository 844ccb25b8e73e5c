"""Reports as JSON bytes, whatever the program put into them: encoding never fails and never grows without bound."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from etlmon.core.instants import format_instant, from_datetime
from etlmon.sdk.arguments import text_of
from etlmon.sdk.frames import LOG, SAMPLE, STATE

MAX_REPORT: Final = 512 * 1024
"""A report larger than this loses its largest free parts: the server would refuse the whole."""
MAX_LINE: Final = 64 * 1024
"""Bytes of one log line; the server cuts again, at its own ``max_line_bytes``."""
MAX_DEPTH: Final = 16
_FREE_PARTS: Final = ("fields", "config", "summary", "metrics", "message", "failure")
KIND_OF: Final = {"log": LOG, "progress": SAMPLE, "metrics": SAMPLE, "heartbeat": SAMPLE}
"""Everything else is a STATE."""


class Line(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="log", omit_defaults=True, gc=False
):
    """A log report, in the form that encodes fastest."""

    job_id: str
    at: str
    message: str
    level: str = "info"
    logger: str | None = None
    step: str | None = None
    fields: msgspec.Raw | None = None
    fencing_token: int | None = None


def _simple(value: Any) -> Any:
    """What JSON has no word for: a number where there is one (numpy, Decimal), text otherwise."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return item()
    return text_of(value)[:1000]


def encode_lines(
    job_id: str,
    lines: Sequence[str],
    levels: Sequence[str] | None,
    *,
    at: str,
    logger: str | None,
    fencing_token: int | None = None,
) -> list[bytes]:
    """The payloads of many log lines of one instant: the texts are encoded by one call, the rest is the same for all.

    ``levels`` None: all ``info``. UnicodeError when a text has lone surrogates.
    """
    if max(map(len, lines), default=0) * 4 > MAX_LINE:
        lines = [clip_line(line) for line in lines]
    texts = _ENCODER.encode_lines(lines).splitlines()
    around: dict[str, tuple[bytes, bytes]] = {}
    for level in set(levels) if levels is not None else ("info",):
        line = Line(job_id=job_id, at=at, message="", level=level, logger=logger, fencing_token=fencing_token)
        empty = _ENCODER.encode(line)
        head, mark, rest = empty.partition(b'"message":""')
        around[level] = (head + mark[:-2], rest)
    if levels is None:
        head, rest = around["info"]
        return [head + text + rest for text in texts]
    return [around[level][0] + text + around[level][1] for level, text in zip(levels, texts, strict=True)]


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_simple)
encode_fast: Final = _ENCODER.encode
"""Raises on hostile values (see ``encode``)."""


def encode(value: Any) -> bytes:
    """JSON bytes of ``value``; what cannot be said in JSON is replaced by the nearest thing that can."""
    try:
        return _ENCODER.encode(value)
    except (UnicodeError, TypeError, ValueError, OverflowError, RecursionError):
        return _ENCODER.encode(_tame(value, MAX_DEPTH))


def tame_text(text: str) -> str:
    """``text`` with lone surrogates as U+FFFD, so that it has a UTF-8 form."""
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


def _tame(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return tame_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)[:1000]
    if depth == 0:
        return "…"
    if isinstance(value, msgspec.Struct):
        return _tame(msgspec.to_builtins(value, enc_hook=_simple), depth - 1)
    if isinstance(value, dict):
        return {tame_text(text_of(key)): _tame(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tame(item, depth - 1) for item in value]
    return _tame(_simple(value), depth - 1)


def encode_report(report: msgspec.Struct | dict[str, Any], now: int) -> tuple[int, bytes, str]:
    """The kind, payload and job id of any report. One without ``at`` is given ``now``: it may arrive much later."""
    if isinstance(report, dict):
        content = {key: value for key, value in report.items() if value is not None or key == "recordsTotal"}
    else:
        content = msgspec.to_builtins(report, enc_hook=_simple)
    at = content.get("at")
    if isinstance(at, datetime):
        content["at"] = format_instant(from_datetime(at if at.tzinfo else at.replace(tzinfo=UTC)))
    elif isinstance(at, int):
        content["at"] = format_instant(at)
    elif at is None:
        content["at"] = format_instant(now)
    payload = encode(content)
    if len(payload) > MAX_REPORT:
        payload = _fit(content)
    return KIND_OF.get(str(content.get("kind")), STATE), payload, str(content.get("jobId", ""))


def _fit(content: dict[str, Any]) -> bytes:
    """Without its largest free parts, until it fits: a report that says less, rather than none."""
    lesser = dict(content)
    for part in sorted(_FREE_PARTS, key=lambda part: -len(encode(content.get(part)))):
        match part:
            case "message":
                lesser[part] = str(lesser.get(part, ""))[:1000]
            case "failure" if "failure" in lesser:
                lesser[part] = {"kind": "error", "message": "the failure was too large to report"}
            case _:
                lesser.pop(part, None)
        payload = encode(lesser)
        if len(payload) <= MAX_REPORT:
            break
    return payload


def clip_line(message: str) -> str:
    """A log message in at most ``MAX_LINE`` bytes, with a mark where it was cut."""
    if len(message) * 4 <= MAX_LINE:
        return message
    from etlmon.core.text import clean_line

    return clean_line(message, MAX_LINE)
