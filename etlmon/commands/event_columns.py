"""How journal events and audit entries look in a list. Pure."""

from __future__ import annotations

import msgspec

from etlmon.commands.job_columns import instant_of, text_of
from etlmon.commands.output import Column, Item, Look


def detail_cell(item: Item, look: Look) -> str:
    """``key=value`` pairs of an event's detail."""
    detail = item.get("detail")
    if not isinstance(detail, dict):
        return "" if detail is None else str(detail)
    return " ".join(
        f"{key}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for key, value in detail.items()
    )


EVENT_COLUMNS = (
    Column("SEQ", text_of("seq"), right=True),
    Column("AT", instant_of("at")),
    Column("EVENT", text_of("kind")),
    Column("BY", text_of("by")),
    Column("DETAIL", detail_cell, elastic=16),
)
"""The columns of ``jobs events``."""

AUDIT_COLUMNS = (
    Column("AT", instant_of("at")),
    Column("WHO", text_of("actor")),
    Column("ACTION", text_of("action")),
    Column("SUBJECT", text_of("subject")),
    Column("DETAIL", detail_cell, elastic=16),
)
"""The columns of ``audit``."""
