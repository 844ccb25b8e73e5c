"""Every route of the server against every role, and against its own description."""

from __future__ import annotations

import itertools
import json
import re
import socket
from typing import Any

import pytest

from etlmon.core.access import Role
from etlmon.server.api.routes import Access, Route
from etlmon.server.api.table import ROUTES

CELLS = [(route, path) for route in ROUTES for path in route.paths if route.media != "websocket"]
ROLES = [*[role.value for role in Role], "nobody", "revoked"]


@pytest.fixture
def world(api: Any) -> Any:
    """A server with a token per role, and a job that the reporter token did not report."""
    made = {role.value: api.api("POST", "/api/tokens", {"name": role.value, "role": role.value}) for role in Role}
    api.tokens = {role: token["token"] for role, token in made.items()}
    gone = api.api("POST", "/api/tokens", {"name": "gone", "role": "admin"})
    api.api("DELETE", f"/api/tokens/{gone['id']}")
    api.tokens |= {"nobody": "", "revoked": gone["token"]}
    api.report({"kind": "job_started", "jobId": "seen", "name": "orders_nightly", "type": "csv_processing"})
    return api


def wanted(route: Route, role: str) -> set[int]:
    """What a cell may answer. A reporter may ask for one job, and is told that there is none."""
    if role in ("nobody", "revoked") and route.access is Access.REQUIRED:
        return {401}
    if role in ("nobody", "revoked"):
        return {200} if role == "nobody" or route.access is Access.NONE else {401}
    if Role(role) not in route.roles:
        return {403}
    if role == "reporter" and "/jobs/{id}" in route.path:
        return {404}
    return {200, 201, 202, 204, 403, 404, 409, 422} if route.writes else {200, 404, 422}


def test_every_route_answers_every_role_as_declared(world: Any) -> None:
    for role, (route, path) in itertools.product(ROLES, CELLS):
        if path == "/api/tokens/{id}" and role == "admin":
            continue  # would be a revocation; it has its own test
        at = re.sub(r"\{\w+\}", "seen", path)
        if route.query.__name__ == "CommandParams":
            at += "?producer=none-such&wait=0"
        body: Any = {"reports": []} if path == "/api/reports" else {} if route.writes else None
        status, answer, headers = world.raw(route.method, at, body, token=world.tokens[role])
        assert status in wanted(route, role), (role, route.method, path, status, answer[:200])
        if status >= 400:
            assert headers["Content-Type"].startswith("application/problem+json"), (route.method, path)
        if status == 401:
            assert headers["WWW-Authenticate"].startswith("Bearer")


def test_a_route_without_roles_does_not_exist() -> None:
    for route in ROUTES:
        assert route.roles, route.path
        assert route.summary, route.path
        assert route.handler.__doc__, route.path
    assert [route.path for route in ROUTES if route.access is Access.NONE] == ["/api/health"]


def test_no_two_routes_have_the_same_method_and_path() -> None:
    seen = [(route.method, path) for route in ROUTES for path in route.paths]
    assert len(seen) == len(set(seen))


def test_what_changes_anything_is_no_get() -> None:
    assert {route.method for route in ROUTES if route.body is not None} <= {"POST", "PUT", "PATCH"}


def test_the_description_names_every_path_and_every_parameter(world: Any) -> None:
    spec = world.api("GET", "/api/openapi.json")
    assert spec["openapi"].startswith("3.1")
    for route in ROUTES:
        for path in route.paths:
            operation = spec["paths"][path][route.method.lower()]
            assert operation["security"] == ([] if route.access is Access.NONE else [{"token": []}])
            assert sorted(operation["x-roles"]) == sorted(route.roles)
            for name in re.findall(r"\{(\w+)\}", path):
                assert {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} in operation[
                    "parameters"
                ]
    text = json.dumps(spec)
    for ref in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert ref in spec["components"]["schemas"], ref
    ids = [op["operationId"] for methods in spec["paths"].values() for op in methods.values()]
    assert len(ids) == len(set(ids))


def test_answers_have_the_keys_that_the_description_names(world: Any) -> None:
    spec = world.api("GET", "/api/openapi.json")
    for route in ROUTES:
        if (
            route.method != "GET"
            or route.media != "application/json"
            or route.path.endswith(("compare", "openapi.json"))
        ):
            continue
        at = re.sub(r"\{\w+\}", "orders_nightly" if "names" in route.path else "seen", route.path)
        answer = world.api("GET", at + ("?producer=none-such&wait=0" if route.path == "/api/commands" else ""))
        schema = spec["paths"][route.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        named = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert set(answer) == set(named["properties"]), route.path


def test_the_page_loads_nothing_and_names_every_route(world: Any) -> None:
    status, page, headers = world.raw("GET", "/api/docs")
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert "script" not in headers["Content-Security-Policy"]
    assert b"http://" not in page
    assert b"<script" not in page
    for route in ROUTES:
        assert route.path.replace("{", "{").encode() in page


def test_two_authorization_headers_are_refused_on_the_wire(world: Any) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as sock:
        sock.sendall(
            b"GET /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 400")
