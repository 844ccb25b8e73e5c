"""Who did what, when: rows that are only ever added, and pruned by age."""

from __future__ import annotations

from typing import Any

import msgspec

ADD = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)"
"""One deed."""
PAGE = "SELECT id, at, actor, action, subject, detail FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
"""Deeds before a given one, newest first."""
PRUNE = "DELETE FROM audit WHERE id IN (SELECT id FROM (SELECT id, at FROM audit ORDER BY id LIMIT ?2) WHERE at < ?1)"
"""Deeds older than the audit is kept."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit. ``detail`` is shown as it is and never holds a secret."""

    id: int
    at: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


_detail = msgspec.json.Decoder(dict[str, Any])


def row_of(at: int, actor: str, action: str, subject: str, detail: dict[str, Any]) -> tuple[object, ...]:
    """The parameters of ``ADD``."""
    return at, actor, action, subject, msgspec.json.encode(detail)


def deed_of(row: tuple[Any, ...]) -> Deed:
    """A row of ``PAGE``."""
    return Deed(id=row[0], at=row[1], actor=row[2], action=row[3], subject=row[4], detail=_detail.decode(row[5]))
