"""What the queue's tests share: jobs that ask for nothing, workers that only claim and report, over a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from world import ServerProcess, new_id

NOTHING: dict[str, Any] = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}


class Desk:
    """A server, and the words that the tests say to it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def submit(self, **fields: Any) -> dict[str, Any]:
        """Queue a csv_processing job that nobody will run."""
        return self.server.api("POST", "/api/jobs", {"type": "csv_processing", "config": NOTHING, **fields})

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """A request that must not succeed: its status and its problem."""
        status, answer, _ = self.server.raw(method, path, body, **more)
        assert status >= 400, (method, path, status, answer[:300])
        return status, json.loads(answer)

    def claim(self, worker: str = "w1", **fields: Any) -> list[dict[str, Any]]:
        """What the worker gets."""
        body = {"worker": {"id": worker, "host": "etl-3", "pid": 7}, "max": 100, **fields}
        return self.server.api("POST", "/api/queue/claim", body)["items"]

    def claim_one(self, worker: str = "w1", **fields: Any) -> Given:
        """The one job that the worker gets."""
        (item,) = self.claim(worker, **{"max": 1, "waitMs": 20_000, **fields})
        return Given(self, worker, item)

    def job(self, job_id: str) -> dict[str, Any]:
        """The job now."""
        return self.server.api("GET", f"/api/jobs/{job_id}")

    def kinds(self, job_id: str) -> list[str]:
        """What the journal tells of the job."""
        return [event["kind"] for event in self.server.api("GET", f"/api/jobs/{job_id}/events")["items"]]


class Given:
    """A claim: a job in its worker's hands."""

    def __init__(self, desk: Desk, worker: str, item: dict[str, Any]) -> None:
        self.desk, self.worker, self.item = desk, worker, item
        self.job, self.spec = item["job"], item["spec"]
        self.id, self.token = item["job"]["id"], item["fencingToken"]

    @property
    def lease(self) -> dict[str, Any]:
        """The claim as renew names it."""
        return {"jobId": self.id, "fencingToken": self.token}

    def report(self, kind: str, **fields: Any) -> dict[str, Any]:
        """One report of the attempt; the receipt."""
        envelope = {key: fields.pop(key) for key in ("producer", "seq") if key in fields}
        return self.desk.server.report({"kind": kind, **self.lease, **fields}, **envelope)

    def complete(self) -> dict[str, Any]:
        """The end that everybody hopes for."""
        return self.report("completed")

    def fail(self, message: str = "connection refused", kind: str = "error") -> dict[str, Any]:
        """The other one."""
        return self.report("failed", failure={"message": message, "kind": kind})

    def renew(self, **fields: Any) -> dict[str, Any]:
        """The beat."""
        body = {"worker": self.worker, "leases": [self.lease], **fields}
        return self.desk.server.api("POST", "/api/queue/renew", body)

    def release(self, reason: str | None = None) -> dict[str, Any]:
        """Give it back."""
        body = {"worker": self.worker, **self.lease, "reason": reason}
        return self.desk.server.api("POST", "/api/queue/release", body)


@pytest.fixture
def desk(server: ServerProcess) -> Desk:
    """A desk over a server of the test's own."""
    return Desk(server)


@pytest.fixture
def open_desk(make_server: Callable[..., ServerProcess]) -> Callable[[str], Desk]:
    """Opens a desk over a server with the given config file."""

    def start(toml: str) -> Desk:
        made = make_server()
        made.data_dir.joinpath("config.toml").write_text(toml)
        made.data_dir.joinpath("config.toml").chmod(0o600)
        return Desk(made.start())

    return start


__all__ = ["Desk", "Given", "new_id"]
