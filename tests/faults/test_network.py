"""Networks that lose, cut, delay and fall silent between agent, viewer and server (F1–F2, F18–F20, F23)."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from typing import Any

import pytest
from faults.proxy import Line

from world import log, new_id, started, wait_until


def arrived_whole(server: Any, job: Any, stored_lines: Any, stored_events: Any) -> None:
    """Every line and step the program said is stored once and in order."""
    lines = stored_lines(server, job.id)
    assert lines == [f"line {n}" for n in range(job.n_said)]
    steps = [event["detail"]["step"] for event in stored_events(server, job.id) if event["kind"] == "step_started"]
    assert steps == [f"step {n}" for n in range(0, job.n_said, 50)]


@pytest.mark.parametrize("seed", [1, 2])
def test_connections_reset_at_any_byte_of_request_or_answer_lose_and_double_nothing(
    server: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, stored_events: Any, seed: int
) -> None:
    dice = random.Random(seed)

    def line_of(n: int) -> Line:
        if n % 3 == 0:  # dies in the first exchange
            return (
                Line(up_limit=dice.randrange(1, 800)) if dice.random() < 0.5 else Line(down_limit=dice.randrange(400))
            )
        return Line(up_limit=dice.randrange(4_000, 20_000), down_limit=dice.randrange(2_000, 10_000))

    proxy = make_proxy(server, line_of)
    job = spawn_job(server, url=proxy.url, pause_s=0.001)
    wait_until(lambda: proxy.n_reset >= 6 and job.n_said >= 400, "enough connections were reset")
    proxy.line_of = lambda n: Line()
    proxy.cut()
    last = f"line {job.n_said}"
    wait_until(lambda: known(server, job.id) and last in stored_lines(server, job.id), "all of that has arrived")
    assert job.stop() == 0
    assert server.api("GET", f"/api/jobs/{job.id}")["status"] == "completed"
    arrived_whole(server, job, stored_lines, stored_events)


def test_an_agent_whose_bytes_come_one_by_one_is_served_as_any_other(
    server: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, stored_events: Any
) -> None:
    proxy = make_proxy(server, lambda n: Line(piece=1))
    job = spawn_job(server, url=proxy.url)
    job.say(60)
    assert job.stop() == 0
    assert server.api("GET", f"/api/jobs/{job.id}")["status"] == "completed"
    arrived_whole(server, job, stored_lines, stored_events)


def test_a_viewer_whose_bytes_come_one_by_one_misses_nothing(server: Any, make_proxy: Any, view: Any) -> None:
    proxy = make_proxy(server, lambda n: Line(piece=1))
    viewer = view(server, topics="logs", url=proxy.url)
    job = new_id()
    for at in range(0, 60, 20):
        server.report(*[log(job, f"line {n}") for n in range(at, at + 20)])
    wait_until(lambda: viewer.lines() == [f"line {n}" for n in range(60)], "every line came once")


def test_an_acknowledgement_lost_on_the_way_is_given_again_and_nothing_is_stored_twice(
    server: Any, make_proxy: Any, stored_lines: Any
) -> None:
    proxy = make_proxy(server, lambda n: Line(swallow_down=True))
    job, producer = new_id(), new_id()
    body = json.dumps({"producer": producer, "seq": 1, "reports": [started(job), log(job, "once")]}).encode()
    head = (
        f"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy.port)) as agent:
        agent.sendall(head.encode() + body)
        wait_until(lambda: stored_lines(server, job) == ["once"] if known(server, job) else False, "it is stored")
    again = server.report(started(job), log(job, "once"), producer=producer, seq=1)
    assert (again["ack"], again["accepted"], again["duplicates"]) == (1, 0, 2)
    assert stored_lines(server, job) == ["once"]


def known(server: Any, job: str) -> bool:
    return bool(server.raw("GET", f"/api/jobs/{job}")[0] == 200)


def test_half_a_request_is_none(server: Any, stored_lines: Any, dial: Any) -> None:
    job = new_id()
    server.report(started(job))
    body = json.dumps({"reports": [log(job, f"half {n}") for n in range(100)]}).encode()
    head = (
        f"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for size in (1, len(body) // 2, len(body) - 1):
        sock = dial(server, head + body[:size])
        sock.close()
    server.report(log(job, "whole"))
    assert stored_lines(server, job) == ["whole"]


def test_the_same_batch_sent_by_ten_connections_at_once_is_stored_once(server: Any, stored_lines: Any) -> None:
    job, producer = new_id(), new_id()
    receipts: list[Any] = []

    def send() -> None:
        receipts.append(server.report(started(job), log(job, "once"), producer=producer, seq=1))

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {receipt["ack"] for receipt in receipts} == {1}
    assert sorted(receipt["accepted"] for receipt in receipts) == [0] * 9 + [2]
    assert stored_lines(server, job) == ["once"]


def test_a_viewer_that_vanished_is_noticed_by_the_server_within_its_heartbeats(
    make_server: Any, make_proxy: Any
) -> None:
    server = make_server(config='[monitoring.websocket]\nheartbeat_interval = "1s"\n').start()
    proxy = make_proxy(server)
    sock = socket.create_connection(("127.0.0.1", proxy.port))
    sock.sendall(
        b"GET /ws?topics=jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        + f"Authorization: Bearer {server.token}\r\n\r\n".encode()
    )
    assert sock.recv(12) == b"HTTP/1.1 101"
    wait_until(lambda: server.api("GET", "/api/monitor/connections")["items"], "the viewer is connected")
    began = time.monotonic()
    assert proxy.vanish() == 1
    wait_until(lambda: not server.api("GET", "/api/monitor/connections")["items"], "it is noticed")
    assert time.monotonic() - began < 10  # 1.5 heartbeats, on a machine that may be busy
    sock.close()


def test_a_viewer_finds_out_that_its_server_vanished_and_misses_nothing(
    make_server: Any, make_proxy: Any, view: Any
) -> None:
    server = make_server(config='[monitoring.websocket]\nheartbeat_interval = "1s"\n').start()
    proxy = make_proxy(server)
    viewer = view(server, topics="logs", url=proxy.url)
    job = new_id()
    server.report(log(job, "line 0"))
    wait_until(lambda: viewer.lines() == ["line 0"], "the viewer is live")
    proxy.vanish()
    server.report(*[log(job, f"line {n}") for n in range(1, 50)])
    wait_until(lambda: viewer.lines() == [f"line {n}" for n in range(50)], "it came back and was caught up")
    assert viewer.resets == []


@pytest.mark.slow
def test_an_agent_finds_out_that_its_server_vanished_within_half_a_minute_and_loses_nothing(
    server: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, stored_events: Any
) -> None:
    proxy = make_proxy(server)
    job = spawn_job(server, url=proxy.url, pause_s=0.05)
    job.say(20)
    wait_until(lambda: known(server, job.id) and len(stored_lines(server, job.id)) > 5, "it reports")
    began = time.monotonic()
    assert proxy.vanish() >= 1
    held = job.n_said + 1
    wait_until(lambda: f"line {held}" in stored_lines(server, job.id), "it reports again", deadline_s=60)
    assert time.monotonic() - began < 40
    assert server.api("GET", f"/api/jobs/{job.id}")["status"] == "running"
    assert job.stop() == 0
    arrived_whole(server, job, stored_lines, stored_events)


@pytest.mark.slow
def test_on_a_line_of_two_seconds_and_ten_kilobytes_everything_arrives_once(
    server: Any, make_proxy: Any, spawn_job: Any, stored_lines: Any, stored_events: Any, view: Any
) -> None:
    proxy = make_proxy(server, lambda n: Line(piece=5_000, delay_s=0.5))  # 10 kB/s, and a second there and back
    job = spawn_job(server, url=proxy.url, pause_s=0.02)
    viewer = view(server, topics="logs", url=proxy.url)
    job.say(300)
    assert job.stop() == 0
    wait_until(lambda: server.api("GET", f"/api/jobs/{job.id}")["status"] == "completed", "the end has arrived")
    arrived_whole(server, job, stored_lines, stored_events)
    last = f"line {job.n_said - 1}"
    wait_until(lambda: viewer.lines() and viewer.lines()[-1] == last, "the viewer has it all", deadline_s=60)
    lines = viewer.lines()
    assert lines == [f"line {n}" for n in range(job.n_said - len(lines), job.n_said)]
    assert viewer.resets == []


def test_viewers_cut_again_and_again_see_every_line_once_and_in_order(server: Any, make_proxy: Any, view: Any) -> None:
    dice = random.Random(7)
    proxy = make_proxy(server, lambda n: Line(down_limit=dice.randrange(1000, 20_000)) if n % 5 else Line())
    viewers = [view(server, topics="logs", url=proxy.url) for _ in range(4)]
    job = new_id()
    expected: list[str] = []
    deadline = time.monotonic() + 60
    while len(expected) < 1000 or proxy.n_reset < 8:
        more = [f"line {n}" for n in range(len(expected), len(expected) + 20)]
        server.report(*[log(job, line) for line in more])
        expected += more
        assert time.monotonic() < deadline, f"only {proxy.n_reset} cuts in {len(expected)} lines"
    proxy.line_of = lambda n: Line()
    for viewer in viewers:
        wait_until(lambda viewer=viewer: len(viewer.lines()) >= len(expected), "the viewer has every line")
        assert viewer.lines() == expected
        assert viewer.resets == []
