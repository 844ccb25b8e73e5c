"""Intake: the body of ``POST /api/reports`` → a batch of typed reports, each bad one refused by its index.

The fast path decodes the whole list at once (most batches hold nothing wrong); only when that fails is each report
read by itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from etlmon.core import reports as r
from etlmon.core.errors import Fault, Invalid, Malformed
from etlmon.core.ids import is_job_id
from etlmon.core.instants import from_datetime
from etlmon.core.text import hint, sentence

PRODUCER = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{7,63}")
MAX_REPORTS = 20_000
SKEW_TOLERANCE_MS = 2_000
"""A difference between ``sentAt`` and receipt below this is the network's, not the clock's."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_KIND_KEY = re.compile(rb'"kind"\s*:\s*"([^"\\]{1,64})"')


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body with its reports still undecoded: their bytes are what the producer's hash is taken over."""

    reports: msgspec.Raw
    producer: str | None = None
    seq: int | None = None
    sent_at: r.Instant | None = None
    now: list[dict[str, Any]] | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as the recorder takes it; ``skew_ms`` is added to the reports' instants.

    ``indexes`` are the reports' places in the body when some of its ``size`` were refused (None: their own).
    """

    reports: list[r.AnyReport]
    indexes: list[int] | None = None
    refused: list[r.Refusal]
    job_ids: set[str]
    n_bytes: int
    size: int
    producer: str | None
    seq: int
    hash: bytes
    skew_ms: int
    now: list[dict[str, Any]]
    has_lines: bool

    def index(self, place: int) -> int:
        """Where in the body the report at ``place`` of ``reports`` stood."""
        return place if self.indexes is None else self.indexes[place]


_envelope = msgspec.json.Decoder(Envelope)
_all_reports = msgspec.json.Decoder(list[r.AnyReport])
_each_report = msgspec.json.Decoder(list[msgspec.Raw])
_one_report = msgspec.json.Decoder(r.AnyReport)


def parse_batch(body: bytes, received_at: int) -> Batch:
    """The batch in ``body``. Malformed when it is not JSON of this shape, Invalid when its envelope makes no sense."""
    envelope = _parse_envelope(body)
    raw = bytes(envelope.reports)
    producer, seq = _parse_producer(envelope)
    read = _parse_reports(raw)
    size = len(read.reports) + len(read.refused)
    if size > MAX_REPORTS:
        raise Invalid(f"The batch holds {size} reports: send at most {MAX_REPORTS} at once.")
    return Batch(
        reports=read.reports,
        indexes=read.indexes,
        refused=read.refused,
        job_ids=read.job_ids,
        n_bytes=len(body),
        size=size,
        producer=producer,
        seq=seq,
        hash=hashlib.sha256(raw).digest() if producer is not None else b"",
        skew_ms=_skew(envelope, received_at),
        now=envelope.now or [],
        has_lines=any(type(report) is r.Log for report in read.reports),
    )


def _parse_envelope(body: bytes) -> Envelope:
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError as fault:
        raise _wrong_envelope(fault) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _repaired(body)


def _wrong_envelope(fault: msgspec.ValidationError) -> Malformed | Invalid:
    text = str(fault)
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown is not None:
        near = hint(unknown[1], ("reports", "producer", "seq", "sentAt", "now"))
        return Invalid(
            sentence(f"The batch has an unknown key {unknown[1]!r}{near}"), errors=(Fault(unknown[1], "unknown key"),)
        )
    return Invalid(f"The batch is not as it should be: {text}.")


def _repaired(body: bytes) -> Envelope:
    """The envelope of a body that only a tolerant reader takes: lone surrogates become U+FFFD."""
    try:
        loose = json.loads(body.decode("utf-8", "replace"))
        text = json.dumps(loose, ensure_ascii=False, allow_nan=False)
        return _envelope.decode(_SURROGATE.sub("\ufffd", text))
    except msgspec.ValidationError as fault:
        raise _wrong_envelope(fault) from None
    except (ValueError, RecursionError):
        raise Malformed('The body is not JSON of the form {"reports": [ … ]}.') from None


def _parse_producer(envelope: Envelope) -> tuple[str | None, int]:
    if envelope.producer is None:
        if envelope.seq is not None:
            raise Invalid("A batch with seq needs its producer.", errors=(Fault("producer", "missing"),))
        return None, 0
    if PRODUCER.fullmatch(envelope.producer) is None:
        raise Invalid("producer must be a UUID.", errors=(Fault("producer", "must be a UUID"),))
    if envelope.seq is None or not 1 <= envelope.seq <= 2**63 - 1:
        fault = Fault("seq", "must be a whole number from 1")
        raise Invalid("A batch with a producer needs its seq, a whole number from 1.", errors=(fault,))
    return envelope.producer.lower(), envelope.seq


def _skew(envelope: Envelope, received_at: int) -> int:
    if envelope.sent_at is None:
        return 0
    skew = received_at - from_datetime(envelope.sent_at)
    return 0 if abs(skew) < SKEW_TOLERANCE_MS else skew


class _Read(NamedTuple):
    reports: list[r.AnyReport]
    indexes: list[int] | None
    refused: list[r.Refusal]
    job_ids: set[str]


_job_id_of = attrgetter("job_id")


def _parse_reports(raw: bytes) -> _Read:
    try:
        reports = _all_reports.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        return _parse_each(raw)
    job_ids = set(map(_job_id_of, reports))
    return _Read(reports, None, [], job_ids) if all(map(is_job_id, job_ids)) else _parse_each(raw)


def _parse_each(raw: bytes) -> _Read:
    try:
        pieces = _each_report.decode(raw)
    except msgspec.ValidationError:
        raise Invalid("reports must be a list.", errors=(Fault("reports", "must be a list"),)) from None
    except RecursionError:
        raise Malformed("The reports are nested too deeply.") from None
    taken: list[r.AnyReport] = []
    indexes: list[int] = []
    refused: list[r.Refusal] = []
    for index, piece in enumerate(pieces):
        report = parse_report(bytes(piece))
        if isinstance(report, str):
            refused.append(r.Refusal(index, report))
        else:
            taken.append(report)
            indexes.append(index)
    return _Read(taken, indexes, refused, set(map(_job_id_of, taken)))


def parse_report(raw: bytes) -> r.AnyReport | str:
    """One report, or the sentence that says what is wrong with it."""
    try:
        report: r.AnyReport = _one_report.decode(raw)
    except msgspec.ValidationError as fault:
        lowered = _with_kind_lowered(raw)
        if lowered is not None:
            return parse_report(lowered)
        return _why(raw, str(fault))
    except RecursionError:
        return "the report is nested too deeply"
    if not is_job_id(report.job_id):
        return "jobId must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit"
    return report


def _with_kind_lowered(raw: bytes) -> bytes | None:
    """The report with its kind in lower case, if it was not (enum words are taken in any case)."""
    found = _KIND_KEY.search(raw)
    if found is None or found[1] == found[1].lower() or found[1].lower().decode("ascii", "replace") not in r.KINDS:
        return None
    return raw[: found.start(1)] + found[1].lower() + raw[found.end(1) :]


def _why(raw: bytes, fault: str) -> str:
    unknown = re.search(r"unknown field `([^`]*)`", fault)
    found = _KIND_KEY.search(raw)
    cls = None if found is None else r.KINDS.get(found[1].decode("utf-8", "replace"))
    if unknown is not None and cls is not None:
        return f"unknown key {unknown[1]!r}{hint(unknown[1], cls.__struct_encode_fields__)}"
    if cls is None:
        word = "" if found is None else found[1].decode("utf-8", "replace")
        return f"unknown kind {word!r}" + (hint(word, r.KINDS) or f": use one of {', '.join(r.KINDS)}")
    return fault
