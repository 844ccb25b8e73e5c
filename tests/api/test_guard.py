"""The guard: what never reaches a handler, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from etlmon.core.access import ADMINS, EVERYONE, READERS
from etlmon.core.config import DEFAULT, Auth
from etlmon.core.errors import Conflict
from etlmon.server.api.routes import Access, Call, Route, stream


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What the test's route takes."""

    limit: int = 50


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the test's route takes as a body."""

    reason: str | None = None


async def echo(call: Call) -> dict[str, Any]:
    """Says who asked, and how."""
    body = call.body.decode() if isinstance(call.body, bytes) else msgspec.to_builtins(call.body)
    return {"who": call.identity.role, "path": call.path, "query": msgspec.to_builtins(call.query), "body": body}


async def boom(call: Call) -> None:
    raise RuntimeError("/etc/secret is broken")


async def refuse(call: Call) -> None:
    raise Conflict("It cannot be.", extra={"ack": 7})


async def never(call: Call) -> None:
    await asyncio.Event().wait()


def route(method: str = "GET", path: str = "/x", handler: Any = echo, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, roles=more.pop("roles", READERS), summary="a test", **more)


READ = route(query=Params, aliases=("/also/x",))
WRITE = route("POST", "/x", body=Body, body_optional=True, roles=ADMINS)
Make = Callable[..., Any]


async def test_a_request_without_a_token_is_refused_in_constant_words(guarded: Make) -> None:
    async with guarded([READ]) as server:
        known, unknown = await server.ask("GET", "/x", role=None), await server.ask("GET", "/nothing", role=None)
    assert known.status == unknown.status == 401
    assert known.headers["Www-Authenticate"].startswith("Bearer")
    first, second = known.json(), unknown.json()
    assert {**first, "requestId": ""} == {**second, "requestId": ""}


@pytest.mark.parametrize("path", ["/x/health", "/api/health", "/x/../x", "/%2e%2e/x", "/x;a", "/x/", "/ws"])
async def test_a_path_that_looks_like_an_open_one_still_needs_a_token(guarded: Make, path: str) -> None:
    async with guarded([READ]) as server:
        assert (await server.ask("GET", path, role=None)).status == 401


async def test_every_refusal_is_a_problem(guarded: Make) -> None:
    async with guarded([READ, WRITE, route(path="/conflict", handler=refuse)]) as server:
        answers = {
            404: await server.ask("GET", "/nothing"),
            405: await server.ask("DELETE", "/x"),
            403: await server.ask("POST", "/x", role="viewer"),
            422: await server.ask("GET", "/x?limti=3"),
            415: await server.ask("POST", "/x", body=b"{}", headers={"Content-Type": "text/plain"}),
            400: await server.ask("POST", "/x", body=b"[" * 100_000),
            409: await server.ask("GET", "/conflict"),
        }
    for status, answer in answers.items():
        assert answer.status == status
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.json()["detail"].endswith((".", "limit?"))
        assert answer.json()["status"] == status
    assert answers[409].json()["ack"] == 7
    assert "GET" in answers[405].json()["detail"]
    assert "GET" in answers[405].headers["Allow"]


async def test_a_fault_of_ours_tells_nothing_of_the_inside(guarded: Make, caplog: pytest.LogCaptureFixture) -> None:
    async with guarded([route(handler=boom)]) as server:
        answer = await server.ask("GET", "/x")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert caplog.records[0].request_id == answer.json()["requestId"]  # type: ignore[attr-defined]


async def test_answers_carry_the_headers_that_keep_browsers_out(guarded: Make) -> None:
    async with guarded([READ]) as server:
        for answer in (
            await server.ask("GET", "/x"),
            await server.ask("GET", "/x", role=None),
            await server.send(b"\x16\x03\x01\r\n\r\n"),
        ):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "aiohttp" not in answer.headers.get("Server", "")


@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "reporter"])
async def test_a_role_that_the_route_does_not_name_is_refused(guarded: Make, role: str) -> None:
    async with guarded([route(roles=ADMINS)]) as server:
        assert (await server.ask("GET", "/x", role=role)).status == (200 if role == "admin" else 403)


async def test_an_open_route_gives_no_rights_to_who_has_no_token(guarded: Make) -> None:
    async with guarded([route(access=Access.NONE, roles=EVERYONE)]) as server:
        assert (await server.ask("GET", "/x", role=None)).json()["who"] == "reporter"


async def test_two_authorization_headers_and_a_token_in_the_url_are_malformed(guarded: Make) -> None:
    async with guarded([READ]) as server:
        assert (await server.ask("GET", "/x", more=b"Authorization: Bearer x\r\n")).status == 400
        assert (await server.ask("GET", f"/x?token={server.plain['admin']}")).status == 400


@pytest.mark.parametrize("token", ["nonsense", "x" * 8000, "\xe9\xe9", "etla_" + "0" * 38])
async def test_what_is_no_token_is_refused(guarded: Make, token: str) -> None:
    async with guarded([READ]) as server:
        answer = await server.ask("GET", "/x", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("LocalHost:99", 200),
        ("[::1]:8081", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
async def test_only_known_hosts_are_answered_for(guarded: Make, host: str, status: int) -> None:
    async with guarded([READ]) as server:
        assert (await server.ask("GET", "/x", headers={"Host": host})).status == status


async def test_a_host_that_the_config_allows_is_answered_for(guarded: Make, with_server: Make) -> None:
    config = with_server(allowed_hosts=("etl.example.org",), public_url="https://ops.example.org")
    async with guarded([READ], config=config) as server:
        assert (await server.ask("GET", "/x", headers={"Host": "etl.example.org"})).status == 200
        assert (await server.ask("GET", "/x", headers={"Host": "ops.example.org"})).status == 200


@pytest.mark.parametrize("target", ["http://evil.example/x", "//evil.example/x", "*"])
async def test_a_target_that_is_no_path_is_malformed(guarded: Make, target: str) -> None:
    async with guarded([READ]) as server:
        assert (await server.ask("GET", target)).status == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_foreign_page_may_not_write(guarded: Make, origin: str) -> None:
    async with guarded([READ, WRITE]) as server:
        assert (await server.ask("POST", "/x", body=b"{}", headers={"Origin": origin})).status == 403
        assert (await server.ask("GET", "/x", headers={"Origin": origin})).status == 200


async def test_the_servers_own_page_and_an_allowed_one_may_write(guarded: Make, with_server: Make) -> None:
    async with guarded([WRITE], config=with_server(allowed_origins=("https://ops.example.org",))) as server:
        for origin in (f"http://127.0.0.1:{server.port}", "https://ops.example.org"):
            assert (await server.ask("POST", "/x", body=b"{}", headers={"Origin": origin})).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", None]
)
async def test_a_body_that_is_not_said_to_be_json_is_refused(guarded: Make, kind: str | None) -> None:
    async with guarded([WRITE]) as server:
        assert (await server.ask("POST", "/x", body=b"{}", headers={"Content-Type": kind})).status == 415


async def test_a_body_may_be_left_out_where_the_route_says_so(guarded: Make) -> None:
    async with guarded([WRITE]) as server:
        assert (await server.ask("POST", "/x")).json()["body"] == {"reason": None}
        assert (await server.ask("POST", "/x", body=b"")).json()["body"] == {"reason": None}


async def test_a_body_above_the_limit_is_refused_before_it_is_read(guarded: Make) -> None:
    async with guarded([route("POST", body=bytes, body_limit=1000, roles=ADMINS)]) as server:
        assert (await server.ask("POST", "/x", body=b"x" * 1000)).status == 200
        assert (await server.ask("POST", "/x", body=b"x" * 1001)).status == 413
        head = {"Content-Length": str(10**12)}
        assert (await server.ask("POST", "/x", body=b"", headers=head)).status == 413
        chunked = {"Content-Length": None, "Transfer-Encoding": "chunked"}
        body = b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
        assert (await server.ask("POST", "/x", body=body, headers=chunked)).status == 413


async def test_only_the_reports_route_takes_compressed_bodies(guarded: Make) -> None:
    packed = gzip.compress(b'{"reason": "x"}')
    async with guarded([WRITE, route("POST", "/reports", body=bytes, encodings=True)]) as server:
        head = {"Content-Encoding": "gzip"}
        assert (await server.ask("POST", "/x", body=packed, headers=head)).status == 415
        assert (await server.ask("POST", "/reports", body=packed, headers=head)).json()["body"] == '{"reason": "x"}'
        assert (await server.ask("POST", "/reports", body=packed, headers={"Content-Encoding": "br"})).status == 415
        bomb = gzip.compress(b"\0" * 50_000_000)
        assert (await server.ask("POST", "/reports", body=bomb, headers=head)).status == 413


async def test_head_is_answered_where_get_is(guarded: Make) -> None:
    async with guarded([READ]) as server:
        answer = await server.ask("HEAD", "/x")
    assert answer.status == 200
    assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PATCH"])
async def test_other_methods_are_refused(guarded: Make, method: str) -> None:
    async with guarded([READ]) as server:
        answer = await server.ask(method, "/x", headers={"X-HTTP-Method-Override": "GET"})
    assert answer.status in (400, 404, 405)


async def test_an_alias_is_the_route(guarded: Make) -> None:
    async with guarded([READ]) as server:
        assert (await server.ask("GET", "/also/x?limit=3")).json()["query"] == {"limit": 3}


async def test_an_answer_that_is_not_ready_in_time_is_given_up(guarded: Make) -> None:
    async with guarded([route(handler=never, deadline_s=0.01)]) as server:
        assert (await server.ask("GET", "/x")).status == 504


async def test_auth_switched_off_lets_everybody_in(guarded: Make) -> None:
    config = msgspec.structs.replace(DEFAULT, auth=Auth(enabled=False))
    async with guarded([READ], config=config) as server:
        assert (await server.ask("GET", "/x", role=None)).json()["who"] == "admin"


# Connections.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ],
)
async def test_a_request_that_does_not_arrive_is_not_waited_for(guarded: Make, data: bytes) -> None:
    async with guarded([READ, WRITE], read_deadline_s=0.05) as server:
        answer = await asyncio.wait_for(server.send(data), 8)
    assert answer.status in (0, 401)


async def test_a_body_that_dawdles_is_told_so(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlmon.server.api.bodies.read_body.__defaults__", (0.05,))
    async with guarded([WRITE]) as server:
        answer = await server.ask("POST", "/x", body=b"{", headers={"Content-Length": "100"})
    assert answer.status == 408
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_malformed(guarded: Make, head: bytes) -> None:
    async with guarded([READ]) as server:
        answer = await server.send(head)
    assert answer.status == 400
    assert json.loads(answer.body)["status"] == 400


async def test_requests_on_one_connection_are_answered_one_after_the_other(guarded: Make) -> None:
    async with guarded([READ], read_deadline_s=0.05) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.plain['admin']}\r\n\r\n".encode()
        for part in (head + head, head):
            writer.write(part)
            for _ in range(part.count(b"GET")):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                text = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1]) for line in text.split(b"\r\n") if line.startswith(b"Content-Length")
                )
                await reader.readexactly(length)
        writer.close()
        assert server.connections.n_late == 0


async def test_there_is_room_for_so_many_connections_and_no_more(guarded: Make) -> None:
    async with guarded([READ], limit=2) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        assert (await server.ask("GET", "/x")).status == 503
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        assert (await server.ask("GET", "/x")).status == 200
        assert server.connections.n_refused == 1


async def test_a_reader_that_takes_nothing_is_cut(guarded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etlmon.server.api.routes.STALLED_S", 0.05)
    ended = asyncio.Event()
    sent = 0

    async def endless(call: Call) -> Any:
        async def pages() -> Any:
            nonlocal sent
            while True:
                sent += 1
                yield b"x" * 65_536

        try:
            return await stream(call, pages())
        finally:
            ended.set()

    async with guarded([route(handler=endless, deadline_s=None)]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(
            f"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.plain['admin']}\r\n\r\n".encode()
        )
        await asyncio.wait_for(ended.wait(), 10)
        writer.close()
        del reader
    assert sent * 65_536 < 10_000_000
