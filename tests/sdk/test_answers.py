"""What each kind of answer makes the agent do: only an acknowledgement of ours is one."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etlmon.host.endpoint import Endpoint
from etlmon.sdk import patience, sender
from etlmon.sdk.patience import MOST_ASKED_S, Patience
from etlmon.sdk.tail import Limits


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.01)
    monkeypatch.setattr(patience, "MOST_S", 0.05)
    monkeypatch.setattr(sender, "LOOK_UP_S", 0.05)


@pytest.mark.parametrize("portal", ["html", "garbage", "empty", "status:404", "status:301"])
def test_what_is_not_our_acknowledgement_is_none(server: Any, make_reporter: Callable[..., Any], portal: str) -> None:
    server.fault = lambda n, body: portal if n < 5 else None
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    assert len([request for request in server.requests if request[0] == "POST"]) > 5
    assert server.messages() == ["one"]


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    server: Any, make_server: Callable[..., Any], make_reporter: Callable[..., Any]
) -> None:
    stranger = make_server()
    server.fault = lambda n, body: f"redirect:{stranger.url}/api/reports" if n < 5 else None
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    assert stranger.requests == []
    assert server.messages() == ["one"]


def test_a_token_that_is_refused_is_not_tried_again_before_a_minute_is_over(
    server: Any, make_reporter: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.token = "another"
    reporter = make_reporter(server.endpoint())
    for n in range(100):
        reporter.log("j", "info", f"line {n}")
        reporter.flush(0.01)
    assert not reporter.flush(0.3)
    assert len([request for request in server.requests if request[0] == "POST"]) == 1
    assert reporter.pending == 100
    assert "does not accept the token" in caplog.text
    assert "t0ken" not in caplog.text


def test_a_rotated_token_is_found_and_the_spool_delivered(server: Any, make_reporter: Callable[..., Any]) -> None:
    token = "t0ken"
    reporter = make_reporter(lambda: server.endpoint(token))
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    server.token = "n3w"
    reporter.log("j", "info", "two")
    assert not reporter.flush(0.2)
    token = "n3w"
    assert reporter.flush(20)
    assert server.messages() == ["one", "two"]


def test_a_restarted_server_is_found_on_its_new_port(
    make_server: Callable[..., Any], make_reporter: Callable[..., Any]
) -> None:
    here = make_server()
    reporter = make_reporter(lambda: here.endpoint())
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    before = here
    before.stop()
    reporter.log("j", "info", "two")
    here = make_server()
    here.marks = before.marks
    assert reporter.flush(20)
    assert here.messages() == ["two"]


def test_while_a_local_server_is_down_reports_do_not_go_to_whoever_has_the_default_port(
    make_server: Callable[..., Any], make_reporter: Callable[..., Any]
) -> None:
    local, stranger = make_server(), make_server()
    stranger.token = None
    known = Endpoint(url=local.url, token="t0ken", origin="/home/server.json")
    looks = 0

    def source() -> Endpoint:
        nonlocal looks
        looks += 1
        return known if looks == 1 else Endpoint(url=stranger.url, token=None, origin="default")

    reporter = make_reporter(source)
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    local.stop()
    reporter.log("j", "info", "two")
    assert not reporter.flush(0.3)
    assert looks > 1
    assert stranger.requests == []


def test_a_busy_server_is_shown_where_the_jobs_stand(server: Any, make_reporter: Callable[..., Any]) -> None:
    server.fault = lambda n, body: "status:503:0.01" if "now" not in body else None
    reporter = make_reporter(server.endpoint())
    reporter.on_live_states(lambda: [{"id": "j", "status": "running"}])
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    assert server.now_states == [[{"id": "j", "status": "running"}]]
    assert server.messages() == ["one"]


@pytest.mark.parametrize(("said", "least", "most"), [(86_400.0, 300, 330), (-1.0, 0, 1), (None, 0, 1), (3.0, 3, 3.3)])
def test_retry_after_is_honoured_up_to_five_minutes(said: float | None, least: float, most: float) -> None:
    assert MOST_ASKED_S == 300
    assert least <= Patience().asked(said) <= most


def test_backoff_grows_to_its_ceiling_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.5)
    monkeypatch.setattr(patience, "MOST_S", 30.0)
    monkeypatch.setattr(patience, "dice", lambda: 1.0)
    one = Patience()
    assert [one.failure() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    one.success()
    assert one.failure() == 0.5


@pytest.mark.parametrize("status", [400, 422])
def test_one_report_that_is_refused_for_ever_is_put_aside_and_the_rest_goes_on(
    server: Any, make_reporter: Callable[..., Any], spool_dir: Path, status: int
) -> None:
    def fault(n: int, body: dict[str, Any]) -> str | None:
        return f"status:{status}" if any(report.get("message") == "line 77" for report in body["reports"]) else None

    server.fault = fault
    reporter = make_reporter(server.endpoint())
    for n in range(200):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(30)
    assert server.messages() == [f"line {n}" for n in range(200) if n != 77]
    (dead,) = (spool_dir / "dead").iterdir()
    (letter,) = [json.loads(line) for line in dead.read_text().splitlines()]
    assert json.loads(letter["report"])["message"] == "line 77"
    assert "as told" in letter["why"]
    assert dead.stat().st_mode & 0o777 == 0o600


def test_a_batch_that_is_too_large_is_halved_until_it_fits(server: Any, make_reporter: Callable[..., Any]) -> None:
    server.fault = lambda n, body: "status:413" if len(body["reports"]) > 7 else None
    reporter = make_reporter(server.endpoint())
    for n in range(500):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(30)
    assert server.messages() == [f"line {n}" for n in range(500)]
    assert max(size for _, _, size in server.batches) <= 7


def test_a_batch_that_arrived_unanswered_is_not_cut_anew_when_a_proxy_then_refuses_it(
    server: Any, make_reporter: Callable[..., Any]
) -> None:
    def fault(n: int, body: dict[str, Any]) -> str | None:
        if body["seq"] < 1_000_000 and len(body["reports"]) > 1:
            return "commit_and_reset" if body["seq"] not in {seq for _, seq, _ in server.batches} else "status:413"
        return None

    server.fault = fault
    reporter = make_reporter(server.endpoint())
    for n in range(100):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(30)
    assert server.messages() == [f"line {n}" for n in range(100)]


def test_a_report_rejected_by_index_is_put_aside_and_not_sent_again(
    server: Any, make_reporter: Callable[..., Any], spool_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = server._receipt
    refusal = {"index": 0, "why": "unknown state"}
    monkeypatch.setattr(server, "_receipt", lambda *args: {**receipt(*args), "rejected": [refusal]})
    reporter = make_reporter(server.endpoint())
    reporter.report({"kind": "log", "jobId": "j", "message": "odd", "level": "loud"})
    assert reporter.flush(20)
    (dead,) = (spool_dir / "dead").iterdir()
    assert "unknown state" in dead.read_text()


def test_batches_keep_their_bounds(server: Any, make_reporter: Callable[..., Any]) -> None:
    opened = threading.Event()
    server.fault = lambda n, body: None if opened.is_set() else "reset"
    reporter = make_reporter(server.endpoint())
    for _ in range(3000):
        reporter.log("j", "info", "x" * 1000)
    opened.set()
    assert reporter.flush(30)
    assert max(size for _, _, size in server.batches) <= 256
    opened.clear()
    for _ in range(3000):
        reporter.log("j", "info", "x")
    opened.set()
    assert reporter.flush(30)
    assert max(size for _, _, size in server.batches) == 500


def test_a_line_of_megabytes_is_cut_and_the_job_goes_on(server: Any, make_reporter: Callable[..., Any]) -> None:
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "x" * 10_000_000)
    reporter.report({"kind": "completed", "jobId": "j", "summary": {"all": "y" * 3_000_000}})
    assert reporter.flush(20)
    (line,) = server.messages()
    assert len(line) <= 64 * 1024
    assert "[cut" in line
    assert "summary" not in server.of("completed")[0]


def test_a_url_that_is_none_keeps_the_reports(make_reporter: Callable[..., Any], spool_dir: Path) -> None:
    for url in ("ftp://x", "http://", "nonsense", "http://user:secret@127.0.0.1:9", None):
        reporter = make_reporter(Endpoint(url=url, token=None, origin="test"))
        reporter.log("j", "info", "one")
        assert not reporter.flush(0.1)
        assert reporter.pending == 1


def test_a_token_with_a_line_break_in_it_sends_nothing(server: Any, make_reporter: Callable[..., Any]) -> None:
    reporter = make_reporter(server.endpoint("t0\r\nHost: evil"))
    reporter.log("j", "info", "one")
    assert not reporter.flush(0.2)
    assert server.requests == []


def test_a_half_open_connection_is_given_up_and_the_batch_sent_again(
    server: Any, make_reporter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from etlmon.sdk import transport

    monkeypatch.setattr(transport, "ANSWER_S", 0.1)
    silent = threading.Event()

    def fault(n: int, body: dict[str, Any]) -> str | None:
        if n < 2:
            silent.wait(5)
        return None

    server.fault = fault
    reporter = make_reporter(server.endpoint())
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    silent.set()
    assert server.messages() == ["one"]


def test_tls_is_never_left_for_plain_http(server: Any, make_reporter: Callable[..., Any]) -> None:
    endpoint = Endpoint(url=server.url.replace("http:", "https:"), token="t0ken", origin="test")
    reporter = make_reporter(endpoint)
    reporter.log("j", "info", "one")
    assert not reporter.flush(0.3)
    assert server.requests == []


def test_an_idle_connection_that_the_server_closed_costs_nothing(
    make_server: Callable[..., Any], make_reporter: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    first = make_server()
    reporter = make_reporter(first.endpoint(), limits=Limits())
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    first.stop()
    second = make_server(first.port)
    second.marks = first.marks
    reporter.log("j", "info", "two")
    assert reporter.flush(20)
    assert second.messages() == ["two"]
    assert caplog.records == [] or logging.WARNING not in {record.levelno for record in caplog.records}


@pytest.mark.parametrize("fate", ["commit", "drop"])
def test_on_a_line_too_slow_for_whole_batches_they_become_smaller_and_nothing_comes_twice(
    server: Any, make_reporter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    from etlmon.sdk import transport

    monkeypatch.setattr(transport, "ANSWER_S", 0.15)
    go_on = threading.Event()

    def fault(n: int, body: dict[str, Any]) -> str | None:
        if len(body["reports"]) <= 40:
            return None
        if fate == "commit":
            server.take(body)
        go_on.wait(0.5)
        return "reset"

    server.fault = fault
    reporter = make_reporter(server.endpoint())
    for n in range(150):
        reporter.log("j", "info", f"line {n}")
    assert reporter.flush(30)
    go_on.set()
    assert server.messages() == [f"line {n}" for n in range(150)]
