"""Jobs, logs, history and analytics over REST, as a script sees them."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from world import wait_until


def started(job_id: str, name: str = "orders_nightly", **fields: Any) -> dict[str, Any]:
    return {"kind": "job_started", "jobId": job_id, "name": name, "type": "csv_processing", **fields}


def line(job_id: str, message: str, level: str = "info") -> dict[str, Any]:
    return {"kind": "log", "jobId": job_id, "message": message, "level": level}


def ids(page: Any) -> list[str]:
    return [item["id"] for item in page["items"]]


def messages(page: Any) -> list[str]:
    return [item["message"] for item in page["items"]]


@pytest.fixture
def reporter(api: Any) -> str:
    return api.api("POST", "/api/tokens", {"name": "cron", "role": "reporter", "owner": "bo"})["token"]


def test_pages_of_jobs_follow_each_other_without_gap_or_double(api: Any) -> None:
    api.report(*[started(f"j{n:03}", "crm_sync" if n % 3 else "orders_nightly") for n in range(50)])
    seen, cursor = [], ""
    while True:
        page = api.api("GET", f"/api/jobs?limit=7&name=crm_sync{cursor}")
        seen += ids(page)
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={quote(page['nextCursor'])}"
    assert sorted(seen) == [f"j{n:03}" for n in range(50) if n % 3]
    assert len(seen) == len(set(seen))


def test_a_cursor_of_another_question_is_malformed(api: Any) -> None:
    api.report(*[started(f"j{n}") for n in range(3)])
    cursor = quote(api.api("GET", "/api/jobs?limit=1")["nextCursor"])
    for path in (
        f"/api/jobs?limit=1&status=failed&cursor={cursor}",
        "/api/jobs?cursor=nonsense",
        f"/api/history?cursor={cursor}",
    ):
        assert api.raw("GET", path)[0] in (400, 422)


def test_a_wrong_filter_is_refused_in_words(api: Any) -> None:
    for query in (
        "status=lost",
        "tag=env",
        "since=yesterday",
        "sort=age",
        "q=stat:failed",
        "q=(",
        "limit=0",
        "limit=%D9%A1%D9%A2",
        "cursor=a&cursor=b",
        "q=" + quote("%" * 1000) + '"',
        "name=" + "a*" * 500,
    ):
        status, body, _ = api.raw("GET", f"/api/jobs?{query}")
        assert status in (400, 422), query
        assert json.loads(body)["detail"]


def test_text_that_means_something_to_sql_is_only_text(api: Any) -> None:
    name, tag = quote("orders'; DROP TABLE job;--"), quote('a"b:%_')
    api.report(started("j1", "orders'; DROP TABLE job;--", tags={'a"b': "%_"}))
    assert ids(api.api("GET", f"/api/jobs?name={name}")) == ["j1"]
    assert ids(api.api("GET", f"/api/jobs?tag={tag}")) == ["j1"]
    assert ids(api.api("GET", "/api/jobs?name=" + quote("' OR 1=1 --"))) == []


def test_an_id_that_is_none_is_not_found(api: Any) -> None:
    for job_id in ("..%2f..%2fetc%2fpasswd", "%00", "a%2fb", "j1;x", "%2e%2e", "x" * 300, "%F0%9F%92%A9"):
        for part in ("", "/logs", "/events", "/metrics"):
            assert api.raw("GET", f"/api/jobs/{job_id}{part}")[0] == 404, (job_id, part)


def test_one_job_has_its_last_lines_and_its_parts(api: Any) -> None:
    api.report(
        started("j1", steps=["read", "load"], recordsTotal=100),
        {"kind": "step_started", "jobId": "j1", "step": "read", "stepIndex": 0},
        *[line("j1", f"line {n}") for n in range(30)],
        {"kind": "step_finished", "jobId": "j1", "step": "read", "stepIndex": 0},
        {"kind": "progress", "jobId": "j1", "recordsProcessed": 40},
    )
    job = api.api("GET", "/api/jobs/j1")
    assert [entry["message"] for entry in job["recentLogs"]] == [f"line {n}" for n in range(10, 30)]
    status = api.api("GET", "/api/jobs/j1/status")
    assert (status["status"], status["progressPercent"], status["errorMessage"]) == ("running", 40.0, None)
    assert [step["name"] for step in api.api("GET", "/api/jobs/j1/steps")["items"]] == ["read"]
    events = api.api("GET", "/api/jobs/j1/events")["items"]
    assert [event["kind"] for event in events] == ["job_started", "step_started", "step_finished"]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    metrics = api.api("GET", "/api/jobs/j1/metrics")
    assert metrics["current"]["recordsProcessed"] == metrics["series"][-1]["metrics"]["recordsProcessed"] == 40


def test_progress_by_curl_creates_and_moves_a_job(api: Any) -> None:
    for path in ("/api/jobs/j1/progress", "/status/jobs/j1/progress"):
        assert api.api("PUT", path, {"progressPercent": 25})["progressPercent"] == 25.0
    for body, status in (({"progresPercent": 3}, 422), ({"progressPercent": "many"}, 422), (b"[", 400), (b"[]", 422)):
        assert api.raw("PUT", "/api/jobs/j1/progress", body)[0] == status
    assert api.api("GET", "/api/jobs/j1")["progressPercent"] == 25.0


def test_a_job_that_nobody_obeys_is_cancelled_at_once_and_cannot_be_paused(api: Any) -> None:
    api.report(started("j1", command=["psql", "-f", "a b.sql"]))
    assert api.raw("POST", "/api/jobs/j1/pause", {"reason": "wait"})[0] == 409
    status, body, _ = api.raw("PUT", "/status/jobs/j1/cancel", {"reason": "wrong file"})
    assert (status, json.loads(body)["status"]) == (202, "cancelled")
    status, body, _ = api.raw("POST", "/api/jobs/j1/retry")
    assert status == 409
    assert "psql -f 'a b.sql'" in json.loads(body)["detail"]
    deeds = api.api("GET", "/api/audit")["items"]
    assert (deeds[0]["action"], deeds[0]["subject"], deeds[0]["detail"]["reason"]) == ("job.cancel", "j1", "wrong file")


def test_an_agent_hears_what_is_asked_of_its_job(api: Any) -> None:
    producer = "6f2f0c5e-2b7e-4c35-9d53-1f3b3a4c5d6e"
    api.report(started("j1"), producer=producer, seq=1)
    heard: list[Any] = []
    waits = threading.Thread(target=lambda: heard.append(api.api("GET", f"/api/commands?producer={producer}&wait=20s")))
    waits.start()
    assert api.api("POST", "/api/jobs/j1/pause")["controlPending"]["action"] == "pause"
    waits.join(20)
    assert [(c["jobId"], c["action"]) for c in heard[0]["items"]] == [("j1", "pause")]


def test_an_owner_controls_with_a_viewer_token_and_another_does_not(api: Any) -> None:
    api.report(started("j1", owner="ana"), started("j2", owner="bo"))
    ana = api.api("POST", "/api/tokens", {"name": "ana", "role": "viewer", "owner": "ana"})["token"]
    assert api.raw("POST", "/api/jobs/j1/cancel", token=ana)[0] == 202
    assert api.raw("POST", "/api/jobs/j2/cancel", token=ana)[0] == 403
    assert api.raw("PATCH", "/api/jobs/j2", {"priority": 3}, token=ana)[0] == 403


def test_many_jobs_are_cancelled_at_once_and_the_rest_is_told(api: Any) -> None:
    api.report(*[started(f"j{n}", owner="ana" if n else "bo") for n in range(4)], {"kind": "completed", "jobId": "j3"})
    body = {"action": "cancel", "ids": ["j1", "j2", "j3", "j1", "nobody"], "reason": "wrong day"}
    dry = api.api("POST", "/api/jobs/bulk", {**body, "dryRun": True})
    assert (dry["eligible"], dry["done"], [s["id"] for s in dry["skipped"]]) == (2, 0, ["nobody", "j3"])
    assert api.api("GET", "/api/jobs/j1")["status"] == "running"
    ana = api.api("POST", "/api/tokens", {"name": "ana", "role": "viewer", "owner": "ana"})["token"]
    running = {"action": "cancel", "q": "status:running"}
    dry = api.api("POST", "/api/jobs/bulk", {**running, "dryRun": True}, token=ana)
    assert (dry["ids"], [s["id"] for s in dry["skipped"]]) == (["j1", "j2"], ["j0"])
    done = api.api("POST", "/api/jobs/bulk", running, token=ana)
    assert (done["ids"], done["done"], [s["id"] for s in done["skipped"]]) == (["j1", "j2"], 2, ["j0"])
    assert api.api("GET", "/api/jobs/j1")["status"] == "cancelled"
    for wrong in ({"action": "begin", "q": "a"}, {"action": "cancel"}, {"action": "cancel", "q": "a", "ids": []}):
        assert api.raw("POST", "/api/jobs/bulk", wrong)[0] == 422


def test_priority_and_tags_are_changed_in_place(api: Any) -> None:
    api.report(started("j1", tags={"env": "dev"}))
    job = api.api("PATCH", "/api/jobs/j1", {"priority": 5, "tags": {"env": "prod"}})
    assert (job["priority"], job["tags"]) == (5, {"env": "prod"})
    for body in ({"status": "completed"}, {"priority": 1e9}, {"tags": {"a": 1}}):
        assert api.raw("PATCH", "/api/jobs/j1", body)[0] == 422


def test_a_reporter_sees_what_it_reported_and_nothing_else(api: Any, reporter: str) -> None:
    api.api("POST", "/api/reports", {"reports": [started("mine"), line("mine", "ours")]}, token=reporter)
    api.report(started("theirs"), line("theirs", "secret"))
    assert ids(api.api("GET", "/api/jobs", token=reporter)) == ["mine"]
    assert messages(api.api("GET", "/api/logs", token=reporter)) == ["ours"]
    assert messages(api.api("GET", "/api/logs?q=secret", token=reporter)) == []
    for part in ("", "/status", "/logs", "/events", "/metrics", "/steps"):
        known = api.raw("GET", f"/api/jobs/theirs{part}", token=reporter)
        unknown = api.raw("GET", f"/api/jobs/thesis{part}", token=reporter)
        assert known[0] == unknown[0] == 404
        assert known[1].replace(b"theirs", b"thesis")[:120] == unknown[1][:120]
    assert api.raw("PUT", "/api/jobs/theirs/progress", {"progressPercent": 1}, token=reporter)[0] == 404
    assert api.raw("GET", "/api/history/export", token=reporter)[1] == b""


def test_logs_are_searched_by_every_parameter(api: Any) -> None:
    api.report(
        started("j1"),
        started("j2", "crm_sync", tags={"env": "prod"}),
        line("j1", "loaded 10 rows"),
        line("j1", "connection refused by db-7:5432", "error"),
        line("j2", "connection refused again", "warning"),
        line("j2", "Übergröße ünïcode 50%"),
    )
    for query, wanted in (
        ("level=warning", ["connection refused by db-7:5432", "connection refused again"]),
        ("q=refused", ["connection refused by db-7:5432", "connection refused again"]),
        ("contains=" + quote("db-7:5432"), ["connection refused by db-7:5432"]),
        ("regex=" + quote(r"\d+ rows$"), ["loaded 10 rows"]),
        ("name=crm_sync&level=info", ["connection refused again", "Übergröße ünïcode 50%"]),
        ("tag=env:prod&q=again", ["connection refused again"]),
        (
            "jobs=" + quote("name:orders_* status:running") + "&order=desc",
            ["connection refused by db-7:5432", "loaded 10 rows"],
        ),
        ("tail=1", ["Übergröße ünïcode 50%"]),
        ("until=2020-01-01T00:00:00Z", []),
    ):
        assert messages(api.api("GET", f"/api/logs?{query}")) == wanted, query
    for query in ("level=loud", "regex=" + quote("(a"), "cursor=x", "tail=0", "tail=5000", "order=up", "since=soon"):
        assert api.raw("GET", f"/api/logs?{query}")[0] in (400, 422), query


def test_pages_of_lines_follow_each_other_both_ways(api: Any) -> None:
    api.report(started("j1"), *[line("j1", str(n)) for n in range(25)])
    for order, wanted in (("asc", range(25)), ("desc", range(24, -1, -1))):
        seen, cursor = [], ""
        while True:
            page = api.api("GET", f"/api/jobs/j1/logs?limit=10&order={order}{cursor}")
            seen += messages(page)
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"
        assert seen == [str(n) for n in wanted]


def ndjson(api: Any, path: str) -> Iterator[Any]:
    """The objects of a stream, as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {api.token}"})
        with connection.getresponse() as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "application/x-ndjson"
            while text := answer.readline():
                yield json.loads(text)
    finally:
        connection.close()


def test_all_matches_are_streamed_however_many(api: Any) -> None:
    api.report(started("j1"), *[line("j1", str(n), "error" if n % 2 else "info") for n in range(5000)])
    assert [entry["message"] for entry in ndjson(api, "/api/jobs/j1/logs?stream=true")] == [str(n) for n in range(5000)]
    graves = [entry["message"] for entry in ndjson(api, "/api/logs?stream=true&level=error&tail=1500")]
    assert graves == [str(n) for n in range(5000) if n % 2][-1500:]


def test_a_stream_that_cannot_be_is_refused_before_it_begins(api: Any) -> None:
    api.report(started("j1"), line("j1", "a"))
    for query in ("regex=" + quote("(a"), "q=" + quote("!!"), "order=desc&follow=true", "cursor=x", "level=loud"):
        assert api.raw("GET", f"/api/jobs/j1/logs?stream=true&{query}")[0] == 422, query


def test_a_follow_joins_the_past_to_what_comes_without_gap_or_double(api: Any) -> None:
    api.report(started("j1"), *[line("j1", str(n)) for n in range(2000)])

    def report_on() -> None:
        for first in range(2000, 4000, 50):
            api.report(*[line("j1", str(n)) for n in range(first, first + 50)])
        api.report({"kind": "completed", "jobId": "j1"})

    reports = threading.Thread(target=report_on)
    reports.start()
    seen = [entry["message"] for entry in ndjson(api, "/api/jobs/j1/logs?follow=true")]
    reports.join()
    assert seen == [str(n) for n in range(4000)]


def test_a_follow_of_the_tail_begins_near_the_end(api: Any) -> None:
    api.report(started("j1"), *[line("j1", str(n)) for n in range(100)])
    lines = ndjson(api, "/api/jobs/j1/logs?follow=true&tail=3")
    assert [next(lines)["message"] for _ in range(3)] == ["97", "98", "99"]
    api.report(line("j1", "more"), {"kind": "completed", "jobId": "j1"})
    assert [entry["message"] for entry in lines] == ["more"]


def test_a_follow_over_all_jobs_hears_of_new_ones_under_its_filter(api: Any) -> None:
    api.report(started("j1", "crm_sync"), line("j1", "one"))
    lines = ndjson(api, "/api/logs?follow=true&name=crm_sync")
    assert next(lines)["message"] == "one"
    api.report(started("j2", "ledger_close"), line("j2", "not this"), started("j3", "crm_sync"), line("j3", "two"))
    assert next(lines)["message"] == "two"
    lines.close()


def test_a_follow_ends_when_its_reader_leaves(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlmon.server.api.logs.IDLE_CHECK_S", 0.01)
    api.report(started("j1"), line("j1", "a"))
    lines = ndjson(api, "/api/jobs/j1/logs?follow=true")
    next(lines)
    lines.close()
    wait_until(lambda: not api.api("GET", "/api/system/health")["connections"]["follows"], "the follow ends")


def test_history_lists_and_exports_finished_jobs_alone(api: Any) -> None:
    api.report(*[started(f"j{n}") for n in range(1200)])
    api.report(*[{"kind": "completed", "jobId": f"j{n}"} for n in range(1100)])
    assert len(api.api("GET", "/api/history?limit=1000")["items"]) == 1000
    assert all(job["status"] == "completed" for job in api.api("GET", "/status/jobs/history")["items"])
    exported = [job["id"] for job in ndjson(api, "/api/history/export")]
    assert sorted(exported) == sorted(f"j{n}" for n in range(1100))
    assert list(ndjson(api, "/api/history/export?status=failed")) == []


def test_analytics_count_what_ended(api: Any) -> None:
    for n in range(6):
        api.report(started(f"c{n}", "crm_sync"), {"kind": "progress", "jobId": f"c{n}", "recordsProcessed": 10})
        end = {"kind": "failed", "jobId": f"c{n}", "failure": {"kind": "error", "message": "timeout of crm"}}
        api.report(end if n % 2 else {"kind": "completed", "jobId": f"c{n}"})
    api.report(started("run"))
    summary = api.api("GET", "/api/analytics/summary?since=24h")
    assert (summary["total"], summary["completed"], summary["failed"], summary["successRate"]) == (6, 3, 3, 0.5)
    assert (summary["active"]["running"], summary["rows"]) == (1, 60)
    assert sum(point["total"] for point in summary["trend"]) == 6
    assert summary["durations"]["p50Ms"] is not None
    assert [(e["cause"], e["count"]) for e in api.api("GET", "/api/analytics/errors")["items"]] == [
        ("error: timeout of crm", 3)
    ]
    flaky = api.api("GET", "/api/analytics/flaky")["items"][0]
    assert (flaky["name"], flaky["runs"], flaky["failures"], flaky["flakeRate"]) == ("crm_sync", 6, 3, 1.0)
    assert api.api("GET", "/api/analytics/durations?by=type")["items"][0]["key"] == "csv_processing"
    assert sum(point["rows"] for point in api.api("GET", "/api/analytics/throughput")["items"]) == 60
    name = api.api("GET", "/api/analytics/names/crm_sync")
    assert (name["total"], len(name["lastRuns"]), name["errors"][0]["count"]) == (6, 6, 3)
    assert api.raw("GET", "/api/analytics/names/nobody")[0] == 404
    both = api.api("GET", "/api/analytics/compare?a=c0&b=c1")
    assert {pair["key"]: (pair["a"], pair["b"]) for pair in both["metrics"]}["recordsProcessed"] == (10, 10)
    assert api.raw("GET", "/api/analytics/compare?a=c0&b=none")[0] == 404
    assert api.raw("GET", "/api/analytics/summary?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z")[0] == 422
    performance = api.api("GET", "/api/metrics/performance?since=1h")
    assert (performance["jobs"], performance["byType"][0]["count"]) == (6, 3)


def test_reports_may_come_compressed(api: Any) -> None:
    body = gzip.compress(json.dumps({"reports": [started("j1"), line("j1", "packed")]}).encode())
    assert api.raw("POST", "/api/reports", body, headers={"Content-Encoding": "gzip"})[0] == 200
    assert messages(api.api("GET", "/api/jobs/j1/logs")) == ["packed"]
    assert api.raw("POST", "/api/reports", b"x" * 100, headers={"Content-Encoding": "gzip"})[0] == 400
    assert api.raw("POST", "/api/reports", body, headers={"Content-Encoding": "zstd"})[0] == 415


def test_a_body_of_reports_that_makes_no_sense_is_refused(api: Any) -> None:
    for body in (
        b"",
        b"[" * 100_000,
        b'{"reports": [], "x": 1}',
        b'{"reports": 3}',
        b'{"reports": [NaN]}',
        b'{"reports": [{"kind": "log", "jobId": "j1", "message": "\xff"}]}',
    ):
        assert api.raw("POST", "/api/reports", body)[0] in (400, 422), body[:60]


def test_a_viewer_may_not_report_nor_make_tokens(api: Any) -> None:
    viewer = api.api("POST", "/api/tokens", {"name": "v", "role": "viewer"})["token"]
    assert api.raw("POST", "/api/reports", {"reports": []}, token=viewer)[0] == 403
    assert api.raw("POST", "/api/tokens", {"name": "x", "role": "admin"}, token=viewer)[0] == 403
    assert api.raw("GET", "/api/audit", token=viewer)[0] == 403


def test_a_token_that_makes_no_sense_is_not_made(api: Any) -> None:
    for body in (
        {"name": "x"},
        {"name": "", "role": "viewer"},
        {"name": "x", "role": "root"},
        {"name": "x", "role": "viewer", "expiresAt": "2020-01-01T00:00:00Z"},
        {"name": "x", "role": "viewer", "expiresAt": "2030-01-01T00:00:00"},
        {"name": "x", "role": "viewer", "hash": "00"},
    ):
        assert api.raw("POST", "/api/tokens", body)[0] == 422, body
    assert len(api.api("GET", "/api/tokens")["items"]) == 1


def test_what_belongs_to_later_versions_is_not_there(api: Any) -> None:
    for path in ("/api/alerts", "/api/mutes", "/api/channels"):
        assert api.raw("GET", path)[0] == 404


def test_settings_are_shown_with_their_origin(api: Any) -> None:
    shown = {item["path"]: item for item in api.api("GET", "/api/monitor/config")["items"]}
    assert (shown["server.port"]["origin"], shown["server.host"]["origin"]) == ("--port", "default")


def test_the_machine_and_this_instant_are_told(api: Any) -> None:
    system = api.api("GET", "/status/system/health")
    assert system["status"] == "ok"
    assert system["process"]["rss"] > 0
    duties = {"reaper", "leases", "schedules", "retention", "tokens", "resources", "soundness"}
    assert duties == set(system["services"])
    instant = api.api("GET", "/status/metrics/realtime")
    assert instant["memory"] > 0
