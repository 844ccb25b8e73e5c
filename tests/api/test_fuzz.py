"""Arbitrary requests to every route: whatever is asked, the answer is one that the description allows."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlmon.server.api.params import declared
from etlmon.server.api.table import ROUTES

ROUTES_TO_ASK = [r for r in ROUTES if r.media != "websocket" and r.method != "DELETE"]
VALUES = st.text(max_size=20) | st.sampled_from(
    ["-1", "0", "1e9", "24h", "!", "a:b", "*", "%", '"', "(", "\x00", "true", "desc"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["reason", "priority", "tags", "action", "q", "ids", "name", "role", "reports", "producer", "seq", "x"]
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes | None]:
    """A route of ours with anything in its path, query and body."""
    route = draw(st.sampled_from(ROUTES_TO_ASK))
    part = draw(st.sampled_from(["j1", "nobody", "..", "\x00", "é", "x" * 200]) | st.text(min_size=1, max_size=10))
    path = re.sub(r"\{\w+\}", lambda _: quote(part, safe="", errors="replace"), draw(st.sampled_from(route.paths)))
    names = st.sampled_from([*declared(route.query), "nonsense"])
    pairs = draw(st.lists(st.tuples(names, VALUES), max_size=3))
    pairs = [(name, "0" if name == "wait" else value) for name, value in pairs if name not in ("follow", "stream")]
    query = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in pairs)
    body = None
    if route.writes:
        sent = st.binary(max_size=40) | (ANY_JSON | st.dictionaries(KEYS, ANY_JSON, max_size=3)).map(
            lambda value: json.dumps(value).encode()
        )
        body = draw(sent)
    if route.path == "/api/commands":
        query = "producer=none&wait=0"
    return route.method, f"{path}?{query}" if query else path, body


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_request_makes_the_server_fail(api: Any) -> None:
    api.report(
        {"kind": "job_started", "jobId": "j1", "name": "orders_nightly"}, {"kind": "log", "jobId": "j1", "message": "a"}
    )

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(requests())
    def ask(request: tuple[str, str, bytes | None]) -> None:
        status, answer, headers = api.raw(*request)
        assert status < 500, (request, status, answer)
        if status >= 400:
            assert headers["Content-Type"].startswith("application/problem+json"), (request, status)
            told = json.loads(answer)
            assert told["status"] == status
            assert told["detail"]

    ask()
    assert api.api("GET", "/api/health")["status"] == "ok"
    assert "Traceback" not in api.log()
