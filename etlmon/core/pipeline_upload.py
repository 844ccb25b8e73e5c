"""The config of api_upload, read from its table. Secrets are places where they are found; they are not read here."""

from __future__ import annotations

import re

from etlmon.core.pipeline_ends import read_batch_rows, read_rejects, read_source
from etlmon.core.pipeline_keys import Keys
from etlmon.core.pipeline_shapes import HOUR, RETRIED, SECOND, Answers, ApiUpload, Reference, Retry

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRIVATE_ENV = "ETLMON_"


def read_api_upload(keys: Keys) -> ApiUpload:
    """The whole config of api_upload."""
    body, wrap = _body(keys)
    concurrency = keys.count("concurrency", 4, 1, 64) or 4
    return ApiUpload(
        source=read_source(keys),
        rejects=read_rejects(keys),
        url=keys.text("url", needed=True, check=_check_url),
        method=keys.word("method", ("POST", "PUT", "PATCH"), "POST"),
        body=body,
        wrap=wrap,
        batch_records=keys.count("batch_records", 200, 1, 10_000) or 200,
        concurrency=concurrency,
        rate_per_second=keys.number("rate_per_second", 0.001, 1_000_000),
        timeout=keys.duration("timeout", 30 * SECOND, 1, HOUR),
        headers=_headers(keys),
        idempotency_header=keys.text("idempotency_header", "Idempotency-Key", check=_check_header_name),
        retry=_retry(keys.inner("retry")),
        errors=_answers(keys.inner("errors")),
        batch_rows=read_batch_rows(keys),
    )


def _body(keys: Keys) -> tuple[str, str]:
    value = keys.take("body")
    if isinstance(value, dict) and value.keys() == {"key"} and isinstance(value["key"], str) and value["key"]:
        return "object", value["key"]
    if value in (None, "array", "jsonl"):
        return value or "array", ""
    keys.fault("body", 'must be "array", "jsonl" or {"key": "records"}')
    return "array", ""


def _check_url(text: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a URL, as https://api.example.org/records")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user or password: use headers")


def _check_header_name(text: str) -> None:
    if not _HEADER_NAME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not the name of a header")
    if text.lower() in ("host", "content-length", "transfer-encoding", "connection"):
        raise ValueError(f"{text} is etlmon's to set")


def _headers(keys: Keys) -> dict[str, Reference]:
    found = {}
    for name, value in keys.named("headers").items():
        place = f"headers.{str(name)[:60]}"
        try:
            _check_header_name(str(name))
            found[str(name)] = _reference(value)
        except ValueError as fault:
            keys.fault(place, str(fault))
    return found


def _reference(value: object) -> Reference:
    if isinstance(value, str):
        if not value.isprintable() or not value.isascii():
            raise ValueError("must be printable ASCII")
        return Reference(text=value)
    if isinstance(value, dict) and len(value) == 1:
        where, name = next(iter(value.items()))
        if where in ("env", "file") and isinstance(name, str) and name and "\x00" not in name:
            if where == "env" and name.startswith(_PRIVATE_ENV):
                raise ValueError(f"{name} is etlmon's own and is not sent anywhere")
            return Reference(**{where: name})
    raise ValueError('must be a text, {"env": "NAME"} or {"file": "path"}')


def _retry(keys: Keys) -> Retry:
    statuses = keys.take("statuses")
    if statuses is not None and not (
        isinstance(statuses, list) and all(type(each) is int and 300 <= each <= 599 for each in statuses)
    ):
        keys.fault("statuses", "must be a list of HTTP statuses from 300 to 599")
        statuses = None
    read = Retry(
        attempts=keys.count("attempts", 5, 1, 100) or 5,
        base=keys.duration("base", 500, 1, HOUR),
        cap=keys.duration("cap", 30 * SECOND, 1, HOUR),
        statuses=RETRIED if statuses is None else tuple(statuses),
    )
    keys.close()
    return read


def _answers(keys: Keys) -> Answers:
    read = Answers(
        path=keys.text("path", "errors"), index=keys.text("index", "index"), message=keys.text("message", "message")
    )
    keys.close()
    return read
