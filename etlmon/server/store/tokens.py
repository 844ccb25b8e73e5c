"""Tokens as kept: never the token itself, only its SHA-256."""

from __future__ import annotations

import msgspec

from etlmon.core.access import Role

PUT = """
INSERT INTO token (id, name, owner, role, hash, created_at, created_by, last_used_at, revoked_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, owner = excluded.owner, role = excluded.role, last_used_at = excluded.last_used_at,
    revoked_at = excluded.revoked_at, expires_at = excluded.expires_at
"""
"""A new token, or a known one with what may change of it."""
REVOKE = "UPDATE token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
"""End a token for good."""
USED = "UPDATE token SET last_used_at = ? WHERE id = ?"
"""When a token was last presented."""
EVERY = """
SELECT id, name, owner, role, hash, created_at, created_by, last_used_at, revoked_at, expires_at
FROM token ORDER BY created_at, id
"""
"""Every token, the revoked ones included, oldest first."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token. ``hash`` is its SHA-256."""

    id: str
    name: str
    owner: str | None
    role: Role
    hash: bytes
    created_at: int
    created_by: str | None = None
    last_used_at: int | None = None
    revoked_at: int | None = None
    expires_at: int | None = None


def row_of(token: Token) -> tuple[object, ...]:
    """The parameters of ``PUT``."""
    values = msgspec.structs.asdict(token)
    values["role"] = token.role.value
    return tuple(values.values())


def token_of(row: tuple[object, ...]) -> Token:
    """A row of ``EVERY``."""
    values = dict(zip(Token.__struct_fields__, row, strict=True))
    values["role"] = Role(str(values["role"]))
    return Token(**values)  # type: ignore[arg-type]
