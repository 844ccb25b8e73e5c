"""Pause and resume of the queue itself: the question, the doing, what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlmon.core import errors
from etlmon.core.text import shown
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span
from etlmon.tui.queue.state import EVERY_QUEUE, Standing, standing_of
from etlmon.tui.screens.confirm import Answer, ConfirmScreen
from etlmon.tui.steering import control
from etlmon.tui.steering.control import Told, Words
from etlmon.tui.steering.lines import Question

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.tui.app import Console
    from etlmon.tui.screens.queue import QueueScreen


def question(standing: Standing, now: int) -> Question:
    """What is asked before the queue is paused or, when it is, resumed."""
    n = f"{standing.depth:,} job{'' if standing.depth == 1 else 's'}"
    if not standing.pauses:
        words = Words("Pause queue", "Pause the queue?", "Let it go on", "Pause the queue", "esc lets it go on", "")
        asked: list[Line] = [
            [Span(words.question, "text bold")],
            [Span(f"  {n} wait{'s' if standing.depth == 1 else ''}; no worker is given one until it is resumed.")],
            [Span(f"  {standing.running:,} running: they go on.", "muted")],
        ]
        return Question(words=words, asked=asked, wants_reason=True)
    words = Words(
        "Resume queue", "Resume the queue?", "Leave it paused", "Resume the queue", "esc leaves it paused", ""
    )
    asked = [[Span(words.question, "text bold")], [Span(f"  {n} wait{'s' if standing.depth == 1 else ''}.")]]
    for pause in standing.pauses:
        ago = "" if pause.at is None else f" {figures.age(now - pause.at)} ago"
        which = "" if pause.queue == EVERY_QUEUE else f" {pause.queue}:"
        asked.append([Span(f" {which} paused by {pause.by}{ago}", "paused"), Span(f"  {pause.reason}", "muted")])
    return Question(words=words, asked=asked)


def toggle(console: Console, screen: QueueScreen) -> None:
    """Ask, then pause the queue; or, when something is paused, resume it."""
    standing = console.queue.standing
    if standing is None:
        return
    action = "resume the queue" if standing.pauses else "pause the queue"
    if console.is_read_only:
        console.toast(f"You may read here, not {action}:", control.no_rights("", read_only=console.link.read_only).line)
        return

    async def answered(answer: Answer | None) -> None:
        if answer is not None:
            await _do(console, screen, standing, answer)

    console.push_screen(ConfirmScreen(question(standing, console.now())), answered)


async def _do(console: Console, screen: QueueScreen, standing: Standing, answer: Answer) -> None:
    verb = "resume" if standing.pauses else "pause"
    names = [pause.queue for pause in standing.pauses] or [EVERY_QUEUE]
    now = console.now()

    def ask(client: Client) -> Standing:
        overview: dict[str, Any] = {}
        for name in names:
            body = {"queue": name} | ({"reason": answer.reason} if answer.reason else {})
            overview = client.put(f"/api/queue/{verb}", body=body)
        return standing_of(overview, client.listed("/api/workers"), now)

    try:
        screen.show(await console.rest.ask(ask))
    except errors.EtlmonError as fault:
        console.toast(f"The queue was not {control.PAST[verb]}", shown(fault.detail), "fail")
        return
    line = "jobs are given out again" if standing.pauses else "what runs goes on; P resumes it"
    console.toast(*Told(f"The queue is {control.PAST[verb]}", line, "ok" if standing.pauses else "warn"))
