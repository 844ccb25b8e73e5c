"""What may be queued, under which id, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

Desk = Any
NOTHING = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}
DEFINED = """
[jobs.orders_nightly]
type = "csv_processing"
config = { source = { path = "in.csv" }, sink = { path = "out.csv" } }
owner = "ana"
tags = { env = "prod" }
priority = 5
retries = 2
timeout = "1h"
expected_duration = "10m"

[jobs.backup]
command = ["pg_dump", "orders"]
cwd = "/srv"
env = { PGUSER = "etl" }

[jobs.ledger_close]
start = false
schedule = "0 2 * * *"
"""


def test_the_same_submission_twenty_times_at_once_is_one_job(desk: Desk) -> None:
    body = {"type": "csv_processing", "config": NOTHING, "dedupKey": "orders-2026-11-23"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: desk.server.raw("POST", "/api/jobs", body), range(20)))
    assert sorted(status for status, _, _ in answers) == [200] * 19 + [201]
    assert desk.server.api("GET", "/api/queue")["depth"] == 1
    desk.claim_one().complete()
    assert desk.server.raw("POST", "/api/jobs", body)[0] == 201


def test_an_id_is_kept_for_ever(desk: Desk) -> None:
    assert desk.submit(id="load-1")["id"] == "load-1"
    desk.claim_one().complete()
    status, answer, _ = desk.server.raw(
        "POST", "/api/jobs", {"type": "csv_processing", "config": NOTHING, "id": "load-1"}
    )
    assert status == 200
    assert b'"completed"' in answer


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name of a definition, or type"),
        ({"type": "command", "config": {}}, "config file"),
        ({"type": "Command", "config": {}}, "config file"),
        ({"name": "nobody"}, "Nothing is defined as 'nobody'"),
        ({"type": "csv_processing", "config": NOTHING, "after": ["nobody"]}, "no job 'nobody'"),
        ({"type": "csv_processing", "config": NOTHING, "id": "a b"}, "id must be"),
        ({"type": "csv_processing", "config": NOTHING, "retries": -1}, "retries"),
        ({"type": "csv_processing", "confg": NOTHING}, "did you mean config"),
        ({"name": "orders_nightly", "config": NOTHING}, "config needs type"),
        ({"name": "ledger_close"}, "only expected"),
    ],
)
def test_what_makes_no_sense_is_refused_with_why(open_desk: Any, body: dict[str, Any], said: str) -> None:
    desk = open_desk(DEFINED)
    status, problem = desk.refused("POST", "/api/jobs", body)
    assert status == 422
    assert said in problem["detail"]


def test_a_definition_is_submitted_by_its_name_with_what_it_defines(open_desk: Any) -> None:
    desk = open_desk(DEFINED)
    queued = desk.server.api("POST", "/api/jobs", {"name": "orders_nightly", "tags": {"day": "23"}, "retries": 0})
    assert (queued["type"], queued["owner"], queued["priority"]) == ("csv_processing", "ana", 5)
    assert queued["tags"] == {"env": "prod", "day": "23"}
    assert (queued["timeoutMs"], queued["expectedDurationMs"]) == (3_600_000, 600_000)
    desk.server.api("POST", "/api/jobs", {"name": "backup"})
    first, second = desk.claim_one(), desk.claim_one()
    assert (first.job["name"], second.job["name"]) == ("orders_nightly", "backup")
    assert second.spec["command"] == ["pg_dump", "orders"]
    assert (second.spec["type"], second.spec["cwd"], second.spec["env"]) == ("command", "/srv", {"PGUSER": "etl"})
    shown = {item["name"]: item for item in desk.server.api("GET", "/api/definitions")["items"]}
    assert {name: item["startable"] for name, item in shown.items()} == {
        "orders_nightly": True, "backup": True, "ledger_close": False,
    }  # fmt: skip


def test_a_viewer_and_a_reporter_submit_nothing(desk: Desk) -> None:
    for role in ("viewer", "reporter"):
        token = desk.server.api("POST", "/api/tokens", {"name": role, "role": role})["token"]
        body = {"type": "csv_processing", "config": NOTHING}
        assert desk.server.raw("POST", "/api/jobs", body, token=token)[0] == 403


def test_a_full_queue_refuses_the_lowest_priority_first(open_desk: Any) -> None:
    desk = open_desk("[queue]\nmax_depth = 2\n")
    desk.submit(priority=1)
    desk.submit(priority=1)
    status, problem = desk.refused("POST", "/api/jobs", {"type": "csv_processing", "config": NOTHING, "priority": 1})
    assert status == 429
    assert "queue.max_depth" in problem["detail"]
    desk.submit(priority=2)
    desk.submit(priority=2)
    for priority in (2, 3):
        body = {"type": "csv_processing", "config": NOTHING, "priority": priority}
        assert desk.refused("POST", "/api/jobs", body)[0] == 429
    assert desk.claim_one().job["priority"] == 2
    assert desk.submit(priority=3)["status"] == "pending"


def test_secrets_of_a_config_are_the_workers_alone(desk: Desk) -> None:
    config = {
        "source": {"path": "in.csv"}, "url": "https://ana:hunter2@api.example.org/v1",
        "headers": {"Authorization": {"env": "API_TOKEN"}, "X-Key": "hunter2"},
    }  # fmt: skip
    queued = desk.server.api("POST", "/api/jobs", {"type": "api_upload", "config": config})
    assert queued["config"]["headers"] == {"Authorization": "***", "X-Key": "***"}
    for path in ("", "/events"):
        assert b"hunter2" not in desk.server.raw("GET", f"/api/jobs/{queued['id']}{path}")[1]
    if queued["status"] == "pending":
        assert desk.claim_one().spec["config"] == config
