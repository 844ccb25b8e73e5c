"""What ``etlmon.job`` was called with, and the report that opens a job of it."""

from __future__ import annotations

from typing import Any

import msgspec

from etlmon.sdk.reporter import Reporter


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments, checked. A decorated function opens a job of the same plan at each call."""

    name: str
    type: str
    owner: str | None
    tags: dict[str, Any] | None
    steps: tuple[str, ...]
    total: int | None
    expected_ms: int | None
    timeout_ms: int | None
    config: dict[str, Any] | None
    reporter: Reporter | None

    def started(self, parent_id: str | None) -> dict[str, Any]:
        """The ``job_started`` report, without the job's id."""
        from socket import gethostname

        return {
            "kind": "job_started",
            "name": self.name,
            "type": self.type,
            "owner": self.owner,
            "tags": self.tags,
            "steps": self.steps or None,
            "recordsTotal": self.total,
            "expectedDurationMs": self.expected_ms,
            "timeoutMs": self.timeout_ms,
            "parentId": parent_id,
            "config": self.config,
            "host": gethostname(),
            "source": "sdk",
        }
