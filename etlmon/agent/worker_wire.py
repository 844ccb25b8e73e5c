"""The worker's words with the server: claim, renew, release. One ``Wire`` per thread; nothing here decides anything."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from etlmon.sdk.destination import EndpointSource, look_up
from etlmon.sdk.transport import Busy, NoAnswer, NotAllowed, OutOfStep, Refused, TooLarge, Transport

T = TypeVar("T")
Fault = Busy | NoAnswer | NotAllowed | OutOfStep | Refused | TooLarge


class JobPart(msgspec.Struct, frozen=True, rename="camel"):
    """What the worker needs of a claimed job."""

    id: str
    name: str
    type: str
    attempt: int = 1


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What is to be done, whole. ``work_key`` names the directory that the job's attempts share."""

    type: str
    config: dict[str, Any] | None = None
    command: tuple[str, ...] = ()
    cwd: str | None = None
    env: dict[str, str] = {}
    timeout_ms: int | None = None
    work_key: str = ""


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """A job that is ours until its lease runs out."""

    job: JobPart
    fencing_token: int
    lease_ms: int
    spec: Spec


class Lease(msgspec.Struct, frozen=True, rename="camel"):
    """One claim, as ``renew`` names it."""

    job_id: str
    fencing_token: int


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """A control that is asked of a job, repeated until a report names it."""

    id: str
    job_id: str
    action: str
    reason: str | None = None
    by: str | None = None


class Renewed(msgspec.Struct, frozen=True):
    """The claims that no longer hold, and what is asked of the others."""

    lost: list[str]
    commands: list[Asked]


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """Who the worker is: its id is new for each process."""

    id: str
    host: str
    pid: int
    version: str
    concurrency: int
    queues: tuple[str, ...]


class _Items(msgspec.Struct, frozen=True):
    items: list[Given]


class _Standing(msgspec.Struct, frozen=True):
    status: str


class Wire:
    """One connection to whatever server ``source`` names now."""

    def __init__(self, source: EndpointSource) -> None:
        self._source = source
        self._transport: Transport | None = None

    def claim(self, worker: Introduction, most: int, wait_ms: int) -> list[Given] | Fault:
        """Up to ``most`` jobs, waiting so long for the first."""
        body = {"worker": worker, "queues": worker.queues, "max": most, "waitMs": wait_ms}
        answer = self._ask("POST", "/api/queue/claim", body, _Items, again=False)
        return answer.items if isinstance(answer, _Items) else answer

    def renew(self, worker_id: str, leases: list[Lease], wait_ms: int) -> Renewed | Fault:
        """Hold on to claims; the answer comes with news of them, or after the wait."""
        body = {"worker": worker_id, "leases": leases, "waitMs": wait_ms}
        return self._ask("POST", "/api/queue/renew", body, Renewed, again=False)

    def release(self, worker_id: str, lease: Lease, reason: str) -> JobPart | Fault:
        """Give a job back: pending at once."""
        body = {"worker": worker_id, "jobId": lease.job_id, "fencingToken": lease.fencing_token, "reason": reason}
        return self._ask("POST", "/api/queue/release", body, JobPart)

    def status(self, job_id: str) -> str | Fault:
        """The job's status now."""
        answer = self._ask("GET", f"/api/jobs/{job_id}", None, _Standing)
        return answer.status if isinstance(answer, _Standing) else answer

    def interrupt(self) -> None:
        """Make a request that waits in another thread end now."""
        if self._transport is not None:
            self._transport.interrupt()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _ask(self, method: str, path: str, body: Any, form: type[T], *, again: bool = True) -> T | Fault:
        transport = self._transport or self._connect()
        if transport is None:
            return NoAnswer("no server is known")
        encoded = None if body is None else msgspec.json.encode(body)
        answer: T | Any = transport.ask(method, path, encoded, form, again=again)
        if isinstance(answer, NoAnswer | NotAllowed):  # it may have come back elsewhere, or with another token
            transport.close()
            self._transport = None
        return answer

    def _connect(self) -> Transport | None:
        endpoint = look_up(self._source)
        self._transport = None if endpoint is None else Transport(endpoint)
        return self._transport
