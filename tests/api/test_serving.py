"""The server as a process: how it begins, how it ends, and what it refuses to begin with."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest


def run_server(data_dir: Path, *args: str, config: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """A server that is expected to refuse."""
    if config is not None:
        (data_dir / "config.toml").write_text(config)
    env = {k: v for k, v in os.environ.items() if not k.startswith("ETLMON_")}
    argv = [sys.executable, "-m", "etlmon", "server", "--data-dir", str(data_dir), *args]
    return subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)


def refused(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    told = done.stderr.decode()
    assert done.returncode == 1, told
    assert done.stdout == b""
    assert "Traceback" not in told
    for word in words:
        assert word in told, told


def test_it_tells_its_url_and_leaves_what_local_commands_need(server: Any) -> None:
    while f"etlmon serves at {server.url}\n" not in server.log():
        server.api("GET", "/api/health", token="")
    assert json.loads((server.data_dir / "server.json").read_text())["pid"] == server.process.pid
    for name in ("admin.token", "server.json"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600
    assert server.token.startswith("etla_")
    health = server.api("GET", "/api/health", token="")
    assert (health["status"], health["checks"]["store"]) == ("ok", "ok")


def test_it_ends_with_0_and_takes_its_server_file_away(server: Any) -> None:
    assert server.stop() == 0
    assert not (server.data_dir / "server.json").exists()
    assert (server.data_dir / "admin.token").exists()


def test_the_token_outlives_a_crash_and_a_lost_one_is_replaced(server: Any) -> None:
    before = server.token
    server.kill()
    server.start()
    assert server.token == before
    assert server.stop() == 0
    (server.data_dir / "admin.token").unlink()
    server.start()
    assert server.token != before
    assert server.raw("GET", "/api/jobs", token=before)[0] == 401
    assert [token["revokedAt"] is None for token in server.api("GET", "/api/tokens")["items"]] == [False, True]


def test_a_port_that_is_taken_is_told_in_one_sentence(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(run_server(data_dir, "--port", str(taken.getsockname()[1])), "already listens", "--port")


def test_a_second_server_on_the_same_data_is_refused_and_harms_nothing(server: Any) -> None:
    refused(run_server(server.data_dir, "--port", "0"))
    assert (server.data_dir / "server.json").exists()
    assert server.raw("GET", "/api/jobs")[0] == 200


def test_serving_others_without_tokens_is_refused(data_dir: Path) -> None:
    config = '[auth]\nenabled = false\n[server]\nhost = "127.0.0.1"\n'
    done = run_server(data_dir, "--host", "0.0.0.0", "--port", "0", config=config)
    told = done.stderr.decode()
    assert done.returncode in (1, 2)
    assert "auth.enabled" in told


def test_a_bad_config_is_refused_with_every_fault(data_dir: Path) -> None:
    done = run_server(data_dir, config="[server]\nporrt = 1\nhost = 3\n")
    told = done.stderr.decode()
    assert done.returncode == 2
    assert "server.porrt" in told
    assert "server.host" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be looked at" * 30])
def test_a_store_that_is_not_ours_is_refused(data_dir: Path, content: bytes) -> None:
    (data_dir / "main.db").write_bytes(content)
    refused(run_server(data_dir, "--port", "0"), "main.db")


def test_a_host_that_is_not_this_machine_is_refused(data_dir: Path) -> None:
    refused(run_server(data_dir, "--host", "192.0.2.1", "--port", "0"), "192.0.2.1")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_it_serves_tls_by_certificate_and_key(data_dir: Path, make_server: Callable[..., Any], tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([*made, *names], check=True, capture_output=True)
    (data_dir / "config.toml").write_text(f'[server]\ntls_cert = "{cert}"\ntls_key = "{key}"\n')
    server = make_server(data_dir).start()
    assert server.url.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(cert))
    with urllib.request.urlopen(f"{server.url}/api/health", context=trusted, timeout=10) as answer:
        assert answer.status == 200
    assert server.stop() == 0


def test_a_key_that_does_not_fit_is_told(data_dir: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (data_dir / name).write_text("nonsense")
    config = f'[server]\ntls_cert = "{data_dir}/cert.pem"\ntls_key = "{data_dir}/key.pem"\n'
    refused(run_server(data_dir, "--port", "0", config=config), "tls_cert")


async def test_a_stop_says_goodbye_to_viewers_and_answers_who_waits(server: Any) -> None:
    server.report({"kind": "job_started", "jobId": "j1", "name": "ledger_close"})
    auth = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(headers=auth, timeout=aiohttp.ClientTimeout(total=30)) as http:
        ws = await http.ws_connect(f"{server.url}/ws")
        while (await ws.receive_json())["type"] != "live":
            pass
        polled = asyncio.ensure_future(http.get(f"{server.url}/api/commands?producer=none-such&wait=60s"))
        follow = await http.get(f"{server.url}/api/jobs/j1/logs?follow=true")
        while (await asyncio.to_thread(server.api, "GET", "/api/system/health"))["connections"]["follows"] != 1:
            pass
        server.process.send_signal(signal.SIGTERM)
        farewell = await ws.receive_json()
        assert (farewell["type"], farewell["data"]["reason"]) == ("goodbye", "restart")
        await ws.receive()
        assert ws.close_code == 4001
        assert await follow.read() == b""
        answer = await polled
        assert (answer.status, await answer.json()) == (200, {"items": []})
    assert await asyncio.to_thread(server.process.wait, 10) == 0


def test_a_second_signal_hastens_the_end(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        head = f"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
        idle.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        server.process.send_signal(signal.SIGTERM)
        again = threading.Timer(0.05, server.process.send_signal, [signal.SIGTERM])
        again.start()
        assert server.process.wait(10) == 0
        again.cancel()


async def test_a_revoked_token_is_refused_at_once_and_its_sockets_are_closed(server: Any) -> None:
    made = server.api("POST", "/api/tokens", {"name": "ana's", "role": "viewer", "owner": "ana"})
    assert server.raw("GET", "/api/jobs", token=made["token"])[0] == 200
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(f"{server.url}/ws", headers={"Authorization": f"Bearer {made['token']}"})
        while (await ws.receive_json())["type"] != "live":
            pass
        await asyncio.to_thread(server.api, "DELETE", f"/api/tokens/{made['id']}")
        assert (await asyncio.to_thread(server.raw, "GET", "/api/jobs", token=made["token"]))[0] == 401
        while (told := await asyncio.wait_for(ws.receive(), 5)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert told.data == 4501
    shown = {token["id"]: token for token in server.api("GET", "/api/tokens")["items"]}[made["id"]]
    assert shown["revokedAt"] is not None
    assert "hash" not in shown
    assert "token" not in shown
    assert made["token"] not in server.log()


async def test_a_socket_is_asked_for_its_token_and_its_origin(server: Any) -> None:
    async with aiohttp.ClientSession() as http:
        for headers, status in (
            ({"Authorization": "Bearer nonsense"}, 401),
            ({"Authorization": f"Bearer {server.token}", "Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(f"{server.url}/ws", headers=headers)
            assert caught.value.status == status
        ws = await http.ws_connect(f"{server.url}/ws")
        await ws.send_json({"type": "auth", "token": server.token})
        assert (await ws.receive_json())["type"] == "welcome"
        await ws.close()


def test_prometheus_reads_the_names_that_are_promised(server: Any) -> None:
    server.report(
        {"kind": "job_started", "jobId": "j1", "name": "orders_nightly", "type": "csv_processing"},
        {"kind": "log", "jobId": "j1", "message": "hello"},
        {"kind": "completed", "jobId": "j1"},
    )
    status, text, headers = server.raw("GET", "/metrics")
    told = text.decode()
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    for line in (
        'etlmon_jobs{status="completed"} 1.0',
        'etlmon_jobs_finished_total{status="completed",type="csv_processing"} 1.0',
        'etlmon_job_duration_seconds_count{type="csv_processing"} 1.0',
        'etlmon_job_last_success_timestamp_seconds{name="orders_nightly"}',
        "etlmon_log_lines_total 1.0",
        "etlmon_ws_connections 0.0",
        "etlmon_store_degraded 0.0",
        "etlmon_queue_depth 0.0",
        "etlmon_queue_oldest_seconds 0.0",
        "etlmon_reports_total",
        "# TYPE etlmon_update_delay_seconds histogram",
    ):
        assert line in told or line in told.replace(
            'type="csv_processing",status="completed"', 'status="completed",type="csv_processing"'
        ), line
    open_metrics = server.raw("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert open_metrics[1].endswith(b"# EOF\n")
