"""What a program does with ``etlmon.job``, and what arrives at a server."""

from __future__ import annotations

from typing import Any

import pytest

import etlmon


def test_a_job_tells_its_start_its_records_its_steps_and_its_end(server: Any, reporter: Any) -> None:
    with etlmon.job("orders_nightly", type="csv_processing", tags={"env": "prod"}, steps=["load", "verify"]) as job:
        for _ in job.track(range(1000), step="load"):
            pass
        job.step("verify")
        job.metrics(rejected=3, records_failed=2)
        job.log.warning("three of %d", 1000, table="orders")
        job.summary(records_out=997)
    assert reporter.flush(10)
    kinds = [report["kind"] for report in server.reports]
    assert kinds[0] == "job_started"
    assert kinds[-1] == "completed"
    started = server.reports[0]
    assert started["name"] == "orders_nightly"
    assert started["tags"] == {"env": "prod"}
    assert started["steps"] == ["load", "verify"]
    assert {report["jobId"] for report in server.reports} == {job.id}
    steps = [(r["kind"], r["step"]) for r in server.reports if r["kind"].startswith("step_")]
    assert steps == [
        ("step_started", "load"),
        ("step_finished", "load"),
        ("step_started", "verify"),
        ("step_finished", "verify"),
    ]
    last = server.of("progress")[-1]
    assert last["recordsProcessed"] == 1000
    assert any(r.get("metrics", {}).get("recordsFailed") == 2 for r in server.of("metrics") + server.of("progress"))
    line = server.of("log")[0]
    assert (line["message"], line["level"], line["step"]) == ("three of 1000", "warning", "verify")
    assert line["fields"] == {"table": "orders"}
    assert server.reports[-1]["summary"] == {"recordsOut": 997}


def test_an_exception_fails_the_job_with_its_type_text_step_and_traceback(server: Any, reporter: Any) -> None:
    with pytest.raises(ZeroDivisionError), etlmon.job("crm_sync") as job:
        job.step("divide")
        _ = 1 / 0
    assert reporter.flush(10)
    failure = server.of("failed")[0]["failure"]
    assert failure["errorType"] == "ZeroDivisionError"
    assert failure["message"] == "division by zero"
    assert failure["step"] == "divide"
    assert "_ = 1 / 0" in failure["traceback"]
