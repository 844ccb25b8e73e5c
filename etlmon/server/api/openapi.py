"""OpenAPI 3.1 and the page to read it, both generated from the routes' own declarations and types."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from html import escape
from typing import Any

import msgspec
from aiohttp import web

from etlmon import __version__
from etlmon.core.access import EVERYONE
from etlmon.server.api.params import NoParams, declared
from etlmon.server.api.problems import PROBLEM_JSON, Problem
from etlmon.server.api.routes import Access, Call, Route

REF = "#/components/schemas/{name}"
PATH_PARAM = re.compile(r"\{(\w+)\}")
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "code{font:13px ui-monospace,monospace;background:#f2f2f2;padding:.1em .3em}"
    "h2{margin-top:2.2rem;border-bottom:1px solid #ddd}"
    "h3{margin:1.4rem 0 .2rem}b{display:inline-block;min-width:4.5rem}.r{color:#666;font-size:13px}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181a}code{background:#26292c}.r{color:#999}}"
)


def _types(routes: tuple[Route, ...]) -> list[Any]:
    found: list[Any] = [Problem]
    for route in routes:
        body = route.body_schema or (route.body if route.body is not bytes else None)
        found += [kind for kind in (route.answer, body) if kind is not None]
        if route.query is not NoParams:
            found.append(route.query)
    return found


@lru_cache(maxsize=1)
def specification(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The OpenAPI document of ``routes``, aliases included."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in route.paths:
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, schema_of, components)
    parameters = {route.query.__name__ for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "etlmon",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in parameters},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, path: str, schema_of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    media = {"schema": schema_of[route.answer]} if route.answer is not None else {"schema": {"type": "string"}}
    description = "Switches to WebSocket" if route.media == "websocket" else "As asked"
    answer: dict[str, Any] = {"description": description}
    if route.status != 204 and route.media != "websocket":
        answer["content"] = {route.media: media}
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^0-9A-Za-z]+', '_', path)}",
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "tags": [route.tag],
        "parameters": _path_params(path) + _query_params(route, components),
        "responses": {
            str(101 if route.media == "websocket" else route.status): answer,
            "default": {"description": "Why not", "content": {PROBLEM_JSON: {"schema": schema_of[Problem]}}},
        },
        "security": [] if route.access is Access.NONE else [{"token": []}],
        "x-roles": sorted(route.roles),
    }
    body = route.body_schema or route.body
    if body is not None:
        content = {"application/json": {"schema": schema_of.get(body, {})}}
        operation["requestBody"] = {"required": not route.body_optional, "content": content}
    return operation


def _path_params(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PATH_PARAM.findall(path)
    ]


def _query_params(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is NoParams:
        return []
    schema = components[route.query.__name__]
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in schema["properties"][name].items() if key != "prefixItems"},
        }
        for name in declared(route.query)
    ]


def page(routes: tuple[Route, ...]) -> str:
    """The routes as one HTML page that loads nothing from anywhere."""
    parts = [f"<h1>etlmon {escape(__version__)}</h1><p>Send <code>Authorization: Bearer &lt;token&gt;</code>. "]
    parts.append('The machine-readable form is <a href="/api/openapi.json"><code>/api/openapi.json</code></a>.</p>')
    for tag in dict.fromkeys(route.tag for route in routes):
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_section(route) for route in routes if route.tag == tag]
    body = "".join(parts)
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"{meta}<title>etlmon API</title><style>{STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def _section(route: Route) -> str:
    names = "".join(f" <code>{escape(name)}</code>" for name in declared(route.query))
    same = "".join(f" <code>{escape(path)}</code>" for path in route.aliases)
    roles = "anybody" if route.access is Access.NONE else ", ".join(sorted(route.roles))
    body = route.body_schema or route.body
    fields = () if body is None or body is bytes else (field.encode_name for field in msgspec.structs.fields(body))
    keys = "".join(f" <code>{escape(name)}</code>" for name in fields)
    rows = (("Parameters", names), ("Body", keys), ("Same", same), ("Roles", " " + escape(roles)))
    details = "".join(f'<div class="r">{label}:{text}</div>' for label, text in rows if text)
    text = escape((route.handler.__doc__ or route.summary).strip())
    return f"<h3><b>{route.method}</b> <code>{escape(route.path)}</code></h3><div>{text}</div>{details}"


def published(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes that publish ``routes`` and themselves."""
    every: list[Route] = []

    async def get_openapi(call: Call) -> dict[str, Any]:
        """This API in OpenAPI 3.1."""
        return specification(tuple(every))

    async def get_docs(call: Call) -> web.Response:
        """This page."""
        digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
        return web.Response(
            text=page(tuple(every)), content_type="text/html", headers={"Content-Security-Policy": policy}
        )

    own = (
        Route(
            method="GET",
            path="/api/openapi.json",
            handler=get_openapi,
            roles=EVERYONE,
            summary="This API in OpenAPI 3.1",
            answer=dict[str, Any],
            tag="system",
        ),
        Route(
            method="GET",
            path="/api/docs",
            handler=get_docs,
            roles=EVERYONE,
            summary="This API as a page",
            media="text/html",
            tag="system",
        ),
    )
    every += [*routes, *own]
    return tuple(every)
