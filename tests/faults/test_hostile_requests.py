"""Requests made to break things: to every route, in every parameter, in every report (R, I); nothing is ever a 500."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import Any
from urllib.parse import quote

import pytest

from world import ServerProcess, log, new_id, started, wait_until

IDS = [
    "x", "../admin", "%2e%2e%2fetc%2fpasswd", "..%2f..%2fadmin.token", "%00", ";", "*", "'; DROP TABLE job; --",
    "\U0001f4a9", "a" * 200, "-1", "NaN", "[", "%", "\u202e",
]  # fmt: skip
VALUES = [
    "", "-1", "0", "1e9", "١٢", "1_000", " 7 ", "NaN", "null", "true", "[]", '"', "'", "''; --", "%" * 1000, "NEAR(",
    "col:", "^", "(a+)+$", "(" * 500, "status:(", "a OR b", "-", "*" * 300, "\x00", "\x1b[2J", "\u202e",
    "99999999999999999999", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "24h", "-24h", "deadbeef:1", "../..",
    "x" * 4000,
]  # fmt: skip


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for the whole bombardment, with something in it."""
    server = ServerProcess(tmp_path_factory.mktemp("open")).start()
    try:
        job = new_id()
        server.report(
            started(job, steps=["read"], tags={"env": "prod"}), log(job, "a" * 40 + "!", "error"),
            {"kind": "progress", "jobId": job, "progressPercent": 10}, {"kind": "completed", "jobId": job},
        )  # fmt: skip
        server.known = job  # type: ignore[attr-defined]
        yield server
        assert server.stop() == 0
    finally:
        server.kill()
    assert "Traceback" not in server.log(), server.log()[-4000:]
    assert server.token not in server.log()


def routes(server: Any) -> list[tuple[str, str, list[str]]]:
    """Method, path and query parameters of every route, as the server describes them."""
    found = []
    for path, methods in server.api("GET", "/api/openapi.json")["paths"].items():
        for method, about in methods.items():
            queries = [p["name"] for p in about.get("parameters", []) if p["in"] == "query"]
            found.append((method.upper(), path, queries))
    return found


def fill(path: str, value: str) -> str:
    """The path with every placeholder replaced."""
    out, rest = "", path
    while "{" in rest:
        before, _, rest = rest.partition("{")
        out, rest = out + before + quote(value, safe=""), rest.partition("}")[2]
    return out + rest


def test_no_value_of_any_parameter_of_any_route_is_a_500_or_takes_long(open_server: Any) -> None:
    dice, slow, bad = random.Random(3), [], []
    for method, path, queries in routes(open_server):
        if method != "GET" or path in ("/ws", "/progress"):
            continue
        ask = "wait=0s&" if path == "/api/commands" else ""
        asked = [fill(path, value) for value in IDS] if "{" in path else [path]
        known = fill(path, open_server.known)
        for name in queries:
            chosen = [v for v in VALUES if name in ("q", "contains", "regex")] or dice.sample(VALUES, 8)
            asked += [f"{known}?{ask}{name}={quote(value)}" for value in chosen if name not in ("follow", "wait")]
        for target in asked:
            began = time.monotonic()
            status, body, headers = open_server.raw("GET", target)
            if time.monotonic() - began > 3:
                slow.append(target)
            if status >= 500 or (status >= 400 and not headers["Content-Type"].startswith("application/problem+json")):
                bad.append((target, status, body[:200]))
            assert b"sqlite" not in body.lower() or "system/health" in path or "monitor/config" in path
            assert b"Traceback" not in body
    assert (bad, slow) == ([], [])


def test_no_body_of_any_route_is_a_500(open_server: Any) -> None:
    bodies: list[bytes] = [
        b"", b"null", b"3", b"[]", b"{}", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"\xef\xbb\xbf{}",
        b'{"reason": "\\ud800"}', b'{"reason": NaN}', b'{"reason": 1e400}', b'{"x": %s}' % (b"9" * 5000),
        b'{"reason": "a", "reason": "b"}', b'{"id": "x", "role": "admin", "created_at": 1, "server_url": "x"}',
        b'{"reports": [{}]}', b'{"reports": "x"}', b'{"reports": [], "seq": 1}', b'{"reports": [], "producer": "x"}',
        b'{"role": "viewer", "name": "%s"}' % (b"n" * 100_000), b'{"priority": 1e308, "tags": {"a": []}}',
    ]  # fmt: skip
    bad = []
    for method, path, _ in routes(open_server):
        if method in ("GET", "HEAD"):
            continue
        for body in bodies:
            for job in ("x", open_server.known) if "{" in path else ("",):
                status, answer, headers = open_server.raw(method, fill(path, job), body)
                if status >= 500 or (status >= 400 and "problem+json" not in headers["Content-Type"]):
                    bad.append((method, path, body[:40], status, answer[:200]))
    assert bad == []
    assert open_server.api("GET", f"/api/jobs/{open_server.known}")["status"] == "completed"


def test_requests_with_bytes_changed_at_random_never_trouble_the_server(open_server: Any, dial: Any) -> None:
    body = json.dumps({"reports": [log("j1", "x")]}).encode()
    whole = (
        f"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {open_server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    dice = random.Random(11)
    for _ in range(300):
        spoiled = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(spoiled))
            match dice.randrange(3):
                case 0:
                    spoiled[at] = dice.randrange(256)
                case 1:
                    del spoiled[at : at + dice.randrange(1, 20)]
                case _:
                    spoiled[at:at] = dice.randbytes(dice.randrange(1, 10))
        dial(open_server, bytes(spoiled)).close()
    assert open_server.raw("GET", "/api/health", token="")[0] == 200


def test_a_catastrophic_regex_and_huge_searches_hold_up_nobody(open_server: Any) -> None:
    done: list[float] = []

    def search() -> None:
        began = time.monotonic()
        for parameter in ("regex=(a%2B)%2B%24", "regex=(.*){500}", "contains=" + "a" * 4000, "q=" + "%22" * 900):
            open_server.raw("GET", f"/api/logs?{parameter}")
        done.append(time.monotonic() - began)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    assert open_server.raw("GET", "/api/health", token="")[0] == 200
    assert time.monotonic() - began < 2
    for thread in threads:
        thread.join()
    assert max(done) < 10


def test_a_bad_report_is_refused_by_its_index_and_holds_up_no_other(open_server: Any) -> None:
    job, producer = new_id(), new_id()
    reports: list[Any] = [log(job, f"good {n}") for n in range(500)]
    wrong: dict[int, Any] = {
        3: {"kind": "nonsense", "jobId": job},
        50: {"kind": "progress", "jobId": job, "progressPercent": "NaN"},
        51: {"kind": "progress", "jobId": job, "recordsProcessed": 10**30},
        52: {"kind": "log", "jobId": "../etc", "message": "x"},
        53: {"kind": "log", "jobId": job, "message": 3},
        54: {"kind": "log", "jobId": job, "message": "x", "level": "shout"},
        55: {"kind": "log", "jobId": job, "message": "x", "fields": "none"},
        56: {"kind": "log", "jobId": job, "message": "x", "fields": {"big": "x" * 20_000}},
        57: {"kind": "log", "jobId": job, "message": "x", "colour": "red"},
        499: 17,
    }
    for index, report in wrong.items():
        reports[index] = report
    receipt = open_server.report(*reports, producer=producer, seq=1)
    assert [refusal["index"] for refusal in receipt["rejected"]] == sorted(wrong)
    assert all(refusal["why"] for refusal in receipt["rejected"])
    assert (receipt["ack"], receipt["accepted"]) == (1, 500 - len(wrong))
    assert open_server.report(*reports, producer=producer, seq=1)["accepted"] == 0


def test_numbers_that_make_no_sense_give_no_progress_that_makes_none(open_server: Any) -> None:
    job = new_id()
    open_server.report(started(job, recordsTotal=100))
    for given in (-1, 1e308, 250, 0.0, -0.0):
        open_server.report({"kind": "progress", "jobId": job, "progressPercent": given})
        assert 0 <= open_server.api("GET", f"/api/jobs/{job}")["progressPercent"] <= 100
    for text in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        body = b'{"reports": [{"kind": "progress", "jobId": "%s", "progressPercent": %s}]}' % (job.encode(), text)
        status, answer, _ = open_server.raw("POST", "/api/reports", body)
        assert status in (400, 422) or json.loads(answer)["rejected"], (text, status, answer)
    for records in (-5, 2**63 - 1, 2**63, 10**40):
        open_server.raw(
            "POST", "/api/reports", {"reports": [{"kind": "progress", "jobId": job, "recordsProcessed": records}]}
        )
    shown = open_server.api("GET", f"/api/jobs/{job}")
    assert 0 <= shown["progressPercent"] <= 100
    assert open_server.api("GET", "/api/jobs?q=progress%3E5")["items"] is not None


def test_a_line_of_megabytes_is_cut_with_a_mark_and_its_neighbours_are_whole(open_server: Any) -> None:
    job = new_id()
    open_server.report(log(job, "before"), log(job, "\u017c" * 1_000_000), log(job, "nul \x00 in it"), log(job, ""))
    lines = [line["message"] for line in open_server.api("GET", f"/api/jobs/{job}/logs")["items"]]
    assert (lines[0], lines[2], lines[3]) == ("before", "nul \ufffd in it", "")
    assert len(lines[1].encode()) <= 16_000
    assert "[cut" in lines[1][-40:]


def test_a_body_that_is_too_large_is_refused_and_nothing_of_it_taken(open_server: Any) -> None:
    job = new_id()
    body = json.dumps({"reports": [log(job, "x" * 1000) for _ in range(12_000)]}).encode()
    status, _, _ = open_server.raw("POST", "/api/reports", body)
    assert status == 413
    assert open_server.raw("GET", f"/api/jobs/{job}")[0] == 404


def test_a_reporter_can_neither_report_on_nor_read_anothers_job(open_server: Any) -> None:
    tokens = [
        open_server.api("POST", "/api/tokens", {"role": "reporter", "name": name})["token"] for name in ("one", "two")
    ]
    job = new_id()
    status, _, _ = open_server.raw("POST", "/api/reports", {"reports": [started(job)]}, token=tokens[0])
    assert status == 200
    _, answer, _ = open_server.raw("POST", "/api/reports", {"reports": [log(job, "not mine")]}, token=tokens[1])
    assert [refusal["index"] for refusal in json.loads(answer)["rejected"]] == [0]
    unknown = open_server.raw("GET", f"/api/jobs/{new_id()}", token=tokens[1])
    others = open_server.raw("GET", f"/api/jobs/{job}", token=tokens[1])
    assert unknown[0] == others[0] in (403, 404)


def test_html_in_a_name_stays_json_that_no_browser_runs(open_server: Any) -> None:
    job = new_id()
    open_server.report(started(job, "<script>alert(1)</script>"), log(job, "<img src=x onerror=alert(1)>"))
    for path in (f"/api/jobs/{job}", f"/api/jobs/{job}/logs", "/api/logs?stream=true"):
        _, _, headers = open_server.raw("GET", path)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "html" not in headers["Content-Type"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_ten_thousand_names_and_tags_from_one_reporter_are_borne(open_server: Any) -> None:
    for at in range(0, 10_000, 1000):
        reports = [started(new_id(), f"name {n}", tags={f"k{n}": f"v{n}"}) for n in range(at, at + 1000)]
        assert open_server.report(*reports)["accepted"] == 1000
    wait_until(lambda: open_server.raw("GET", "/metrics")[0] == 200, "metrics are exposed")
    assert len(open_server.raw("GET", "/metrics")[1]) < 1_000_000
    assert len(open_server.api("GET", "/api/jobs?q=tag.k77:v77")["items"]) == 1
