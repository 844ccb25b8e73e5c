"""Submitting a definition: what may be asked for, the asking, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core import errors
from etlmon.core.text import hint, shown
from etlmon.tui.drawing.spans import Line, Span, cut
from etlmon.tui.queue.state import Definition
from etlmon.tui.steering import control
from etlmon.tui.steering.control import Told

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.tui.app import Console

OFFERED = 6
"""Definitions that the dialog names."""
LEAST, MOST = -1000, 1000


class Order(msgspec.Struct, frozen=True):
    """What is to be queued; without a priority the definition's own."""

    name: str
    priority: int | None = None


def order_of(name: str, priority: str, known: Sequence[Definition]) -> Order | str:
    """What was typed as an order, or what is wrong with it in a sentence."""
    name, priority = name.strip(), priority.strip()
    if not name:
        return "Type the name of a definition."
    found = next((each for each in known if each.name == name), None)
    if known and found is None:
        return f"{shown(name)} is no definition{hint(name, [each.name for each in known if each.startable])}"
    if found is not None and not found.startable:
        return f"{name} is only expected here: it is started elsewhere."
    if not priority:
        return Order(name)
    if not priority.removeprefix("-").isdecimal() or not LEAST <= int(priority[:6]) <= MOST or len(priority) > 5:
        return f"A priority is a whole number from {LEAST} to {MOST}."
    return Order(name, int(priority))


def offers(typed: str, known: Sequence[Definition], width: int) -> list[Line]:
    """The definitions that hold what was typed, a line each."""
    fits = [each for each in known if each.startable and typed.strip().lower() in each.name.lower()]
    if not fits:
        told = "No definition has that in its name." if known else "The server's config defines nothing to start."
        return [[Span(f"  {told}", "muted")]]
    lines: list[Line] = []
    for each in fits[:OFFERED]:
        facts = "  ".join(filter(None, (each.type, each.owner, each.schedule)))
        name = cut(each.name, 28)
        lines.append([Span(f"  {name}"), Span(cut(f"  {facts}", max(0, width - len(name) - 2)), "muted")])
    if len(fits) > OFFERED:
        lines.append([Span(f"  and {len(fits) - OFFERED:,} more", "muted")])
    return lines


def result(name: str, view: dict[str, Any]) -> Told:
    """What came of it; above all whether its queue is paused."""
    failure = view.get("failure")
    if view.get("status") == "failed" and isinstance(failure, dict):
        return Told(f"{name} was refused", shown(str(failure.get("message") or "")), "fail")
    pause = (view.get("queue") or {}).get("paused")
    if pause:
        why = f": {pause['reason']}" if pause.get("reason") else ""
        return Told(
            f"{name} queued, but the queue is PAUSED", shown(f"by {pause.get('by') or 'somebody'}{why}"), "warn"
        )
    return Told(f"{name} queued", f"as {shown(str(view.get('id') or ''))[-8:]}", "ok")


def begin(console: Console, name: str) -> str | None:
    """Open the dialog; a sentence when this console may not submit."""
    from etlmon.tui.screens.submit import SubmitScreen

    if console.is_read_only:
        why = control.no_rights("submit", read_only=console.link.read_only)
        return f"{why.title} {why.line}"

    async def answered(order: Order | None) -> None:
        if order is not None:
            await _send(console, order)

    console.push_screen(SubmitScreen(name), answered)
    return None


async def _send(console: Console, order: Order) -> None:
    body = {"name": order.name} | ({} if order.priority is None else {"priority": order.priority})

    def ask(client: Client) -> dict[str, Any]:
        view: dict[str, Any] = client.post("/api/jobs", body=body)
        return view

    try:
        view = await console.rest.ask(ask)
    except errors.EtlmonError as fault:
        console.toast(f"{shown(order.name)} was not queued", shown(fault.detail), "fail")
        return
    console.toast(*result(shown(order.name), view))
