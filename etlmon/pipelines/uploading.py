"""The threads that send: each takes a batch, tries until it is confirmed, refused, or tried often enough."""

from __future__ import annotations

import http.client
import queue
import random
import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from etlmon.core.pipeline_shapes import ApiUpload
from etlmon.host.clock import monotonic_s
from etlmon.pipelines.ends import PipelineFailed
from etlmon.pipelines.http_post import Answer, Endpoint, found_at
from etlmon.pipelines.upload_journal import Confirmed, UploadJournal

JOIN_S = 5.0
SHOWN = 300


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """One batch as it is sent."""

    n: int
    key: str
    size: int
    body: bytes


class Pace:
    """When the next request may begin: a rate for all threads together, and what Retry-After asked of them all."""

    def __init__(self, per_second: float | None) -> None:
        self._gap_s = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def turn(self) -> float:
        """Take a turn; how many seconds to wait for it."""
        with self._lock:
            now = monotonic_s()
            at = max(now, self._next)
            self._next = at + self._gap_s
            return at - now

    def hold(self, seconds: float) -> None:
        """Nobody begins before so many seconds are over."""
        with self._lock:
            self._next = max(self._next, monotonic_s() + seconds)


class Uploader:
    """Bounded: at most ``window`` parcels are in here, sent or waiting to be."""

    def __init__(self, config: ApiUpload, headers: dict[str, str], journal: UploadJournal) -> None:
        self._config = config
        self._headers = headers
        self._journal = journal
        self._pace = Pace(config.rate_per_second)
        self._parcels: queue.Queue[Parcel | None] = queue.Queue()
        self.ends: queue.Queue[Confirmed | PipelineFailed] = queue.Queue()
        self._stopped = threading.Event()
        self.retries = 0
        self.window = config.concurrency * 2
        timeout_s = config.timeout / 1000
        self._endpoints = [Endpoint(config.url, config.method, headers, timeout_s) for _ in range(config.concurrency)]
        self._threads = [
            threading.Thread(target=self._serve, args=(endpoint,), name=f"upload-{n}", daemon=True)
            for n, endpoint in enumerate(self._endpoints)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, parcel: Parcel) -> None:
        """Have a parcel sent; its end comes to ``ends``."""
        self._parcels.put(parcel)

    def watch(self) -> None:
        """End what takes too long; called now and then."""
        for endpoint in self._endpoints:
            endpoint.overdue()

    def stop(self, *, at_once: bool) -> None:
        """Begin nothing more. What is under way is waited for a little, unless ``at_once``."""
        self._stopped.set()
        for _ in self._threads:
            self._parcels.put(None)
        if at_once:
            for endpoint in self._endpoints:
                endpoint.interrupt()
        until = monotonic_s() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic_s()))
        for endpoint in self._endpoints:
            endpoint.interrupt()

    def _serve(self, endpoint: Endpoint) -> None:
        while (parcel := self._parcels.get()) is not None and not self._stopped.is_set():
            try:
                confirmed = self._deliver(endpoint, parcel)
                if confirmed is None:
                    break
                self._journal.confirm(confirmed)
                self.ends.put(confirmed)
            except PipelineFailed as failure:
                self._stopped.set()  # nothing more is begun: the job is about to fail
                self.ends.put(failure)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the job must not wait for this thread
                self.ends.put(PipelineFailed(f"The upload broke: {type(fault).__name__}: {fault}."))
        endpoint.close()

    def _deliver(self, endpoint: Endpoint, parcel: Parcel) -> Confirmed | None:
        """Until it is confirmed; None when the job is stopped first."""
        retry, why = self._config.retry, ""
        for attempt in range(1, retry.attempts + 1):
            if self._waits(self._pace.turn()):
                return None
            answer: Answer | None = None
            try:
                answer = endpoint.send(parcel.body, {self._config.idempotency_header: parcel.key})
                why = f"the endpoint answers {answer.status} {reason_of(answer.status)}"
            except (OSError, http.client.HTTPException, ValueError) as fault:
                why = f"the endpoint does not answer ({type(fault).__name__}: {fault})"
            if answer is not None and answer.status not in retry.statuses:
                return Confirmed(n=parcel.n, faults=self._faults(answer, parcel))
            if attempt < retry.attempts:
                self.retries += 1
                if self._waits(self._delay(attempt, answer)):
                    return None
        raise self._given_up(parcel, why)

    def _delay(self, attempt: int, answer: Answer | None) -> float:
        retry = self._config.retry
        if answer is not None and answer.retry_after_s is not None:
            self._pace.hold(answer.retry_after_s)
            return answer.retry_after_s
        delay_ms: int = min(retry.cap, retry.base << min(attempt - 1, 30))
        return delay_ms / 1000 * random.uniform(0.5, 1)  # noqa: S311

    def _waits(self, seconds: float) -> bool:
        """Wait; True when the job was stopped meanwhile."""
        return self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set()

    def _given_up(self, parcel: Parcel, why: str) -> PipelineFailed:
        return PipelineFailed(
            f"Batch {parcel.n + 1} was not taken in {self._config.retry.attempts} tries: {why}.",
            "Check the endpoint, then retry the job: what was confirmed is not sent again.",
            error_type="UploadFailed",
        )

    def _faults(self, answer: Answer, parcel: Parcel) -> dict[int, str]:
        """Which records of a batch were not taken; PipelineFailed when the answer refuses it all."""
        found = self._listed(answer, parcel) if 200 <= answer.status < 300 or answer.status == 422 else None
        if 200 <= answer.status < 300:
            return found or {}
        if found:
            return found
        raise refused(answer, parcel)

    def _listed(self, answer: Answer, parcel: Parcel) -> dict[int, str] | None:
        errors = self._config.errors
        try:
            listed = found_at(msgspec.json.decode(answer.body), errors.path) if answer.body.strip() else None
        except (msgspec.DecodeError, RecursionError):
            return None
        found: dict[int, str] = {}
        for each in listed if isinstance(listed, list) else ():
            at = found_at(each, errors.index)
            if isinstance(at, int) and not isinstance(at, bool) and 0 <= at < parcel.size:
                told = found_at(each, errors.message)
                found[at] = (told if isinstance(told, str) else "refused by the endpoint")[:SHOWN]
        return found


def reason_of(status: int) -> str:
    """``Not Found`` for 404."""
    return http.client.responses.get(status, "")


def refused(answer: Answer, parcel: Parcel) -> PipelineFailed:
    """Why the endpoint will not take this, in words a person can act on."""
    status = answer.status
    said = answer.body[:SHOWN].decode("utf-8", "replace").strip()
    quote = f': "{said}"' if said and said.isprintable() else ""
    return PipelineFailed(
        f"The endpoint refused batch {parcel.n + 1} with {status} {reason_of(status)}{quote}.",
        *actions_for(status),
        error_type=f"Http{status}",
    )


def actions_for(status: int) -> Sequence[str]:
    """What to do about an answer."""
    match status:
        case 401 | 403:
            return ("Check the credentials in headers: they are missing, wrong or expired.",)
        case 404 | 405 | 410:
            return ("Check url and method against the API's documentation.",)
        case 413:
            return ("Make batch_records smaller.",)
        case 415 | 400 | 422:
            return ("Compare body and the records' fields with what the API expects.",)
        case _ if 300 <= status < 400:
            return ("Give the address that it redirects to as url: redirects are not followed.",)
        case _:
            return ("Look at the answer, correct the request or the endpoint, and retry the job.",)


def encode_body(config: ApiUpload, records: Sequence[Any]) -> bytes:
    """The records as the config wants them."""
    match config.body:
        case "jsonl":
            return msgspec.json.Encoder().encode_lines(records)
        case "object":
            return msgspec.json.encode({config.wrap: records})
        case _:
            return msgspec.json.encode(records)
