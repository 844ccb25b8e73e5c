"""Tokens and the audit trail, for admins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from etlmon.core.access import ADMINS, Role
from etlmon.core.errors import Fault, Invalid
from etlmon.core.instants import format_instant, format_optional, from_datetime
from etlmon.core.job import Record
from etlmon.core.reports import Instant
from etlmon.server.api.routes import Call, Context, Route

if TYPE_CHECKING:
    from etlmon.server.store.tokens import Token


class TokenView(Record, frozen=True):
    """A token without its secret, which is never kept."""

    id: str
    name: str
    role: Role
    owner: str | None
    created_at: str
    created_by: str | None
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None


class NewTokenView(TokenView, frozen=True):
    """A token just made; ``token`` is its plain text, shown this once."""

    token: str


class TokenList(Record, frozen=True):
    """Every token, revoked ones included."""

    items: list[TokenView]
    next_cursor: str | None = None


class TokenRequest(Record, frozen=True, forbid_unknown_fields=True):
    """What a new token shall be."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    role: Role
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    expires_at: Instant | None = None


class AuditEntry(Record, frozen=True):
    """One change that a person or program made."""

    id: str
    at: str
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditPage(Record, frozen=True):
    """Audit entries, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None


class AuditParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of the audit trail."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: str | None = None


def token_view(token: Token, context: Context) -> TokenView:
    """The token as shown."""
    used = max(filter(None, (token.last_used_at, context.tokens.used_at(token.id))), default=None)
    return TokenView(
        id=token.id,
        name=token.name,
        role=token.role,
        owner=token.owner,
        created_at=format_instant(token.created_at),
        created_by=token.created_by,
        last_used_at=format_optional(used),
        expires_at=format_optional(token.expires_at),
        revoked_at=format_optional(token.revoked_at),
    )


async def list_tokens(call: Call) -> TokenList:
    """Every token, without secrets."""
    return TokenList(items=[token_view(token, call.context) for token in await call.context.store.tokens()])


async def create_token(call: Call) -> NewTokenView:
    """A new token; it is honoured from this answer on."""
    body: TokenRequest = call.body
    expires_at = None if body.expires_at is None else from_datetime(body.expires_at)
    if expires_at is not None and expires_at <= call.received_at:
        raise Invalid("expiresAt lies in the past.", errors=(Fault("expiresAt", "lies in the past"),))
    token, plain = await call.context.recorder.create_token(
        name=body.name, role=body.role, owner=body.owner, expires_at=expires_at, identity=call.identity
    )
    call.context.tokens.add(token)
    shown = token_view(token, call.context)
    return NewTokenView(token=plain, **{name: getattr(shown, name) for name in TokenView.__struct_fields__})


async def revoke_token(call: Call) -> None:
    """Revoked means revoked: requests are refused at once and its open sockets are closed."""
    token_id = call.path["id"]
    await call.context.recorder.revoke_token(token_id, call.identity)
    call.context.tokens.drop(token_id)
    call.context.hub.drop_token(token_id)


async def list_audit(call: Call) -> AuditPage:
    """Who changed what, newest first."""
    page = await call.context.store.audit_page(limit=call.query.limit, cursor=call.query.cursor or None)
    items = [
        AuditEntry(
            id=str(entry.id),
            at=format_instant(entry.at),
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
        )
        for entry in page.items
    ]
    return AuditPage(items=items, next_cursor=page.next_cursor)


ROUTES = (
    Route(
        method="GET",
        path="/api/tokens",
        handler=list_tokens,
        roles=ADMINS,
        summary="Every token, without its secret",
        answer=TokenList,
        tag="admin",
    ),
    Route(
        method="POST",
        path="/api/tokens",
        handler=create_token,
        roles=ADMINS,
        summary="Make a token",
        body=TokenRequest,
        answer=NewTokenView,
        status=201,
        tag="admin",
    ),
    Route(
        method="DELETE",
        path="/api/tokens/{id}",
        handler=revoke_token,
        roles=ADMINS,
        summary="Revoke a token",
        status=204,
        tag="admin",
    ),
    Route(
        method="GET",
        path="/api/audit",
        handler=list_audit,
        roles=ADMINS,
        summary="Who changed what",
        query=AuditParams,
        answer=AuditPage,
        tag="admin",
    ),
)
