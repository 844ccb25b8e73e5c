"""The lines of the Queue screen: the banner, how it stands, each job with why it waits, each worker. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from etlmon.core.glyphs import glyph, role
from etlmon.core.job import Status
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, cut, cut_middle, fitted, padded
from etlmon.tui.jobs.cells import Scene, reason
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.queue.state import BLOCKED, EVERY_QUEUE, Standing, Worker, kind_of

WORKER_ROLES = {"busy": "run", "idle": "muted", "silent": "warn"}
NAMED_JOBS = 3
"""Jobs of a worker that are named; the rest are counted."""
AGE, PRIORITY = 5, 5


def ordinal(n: int) -> str:
    """``1st`` ``2nd`` ``3rd`` ``11th`` ``22nd``."""
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{suffix}"


def banner(standing: Standing, scene: Scene) -> str:
    """``PAUSED by ana 6m ago: disk on etl-2.`` of every pause; empty when jobs are given out."""
    sign = glyph("paused", ascii_only=scene.ascii)
    told = []
    for pause in standing.pauses:
        which = "" if pause.queue == EVERY_QUEUE else f" {pause.queue}"
        ago = "" if pause.at is None else f" {figures.age(scene.now - pause.at)} ago"
        told.append(f"{sign} PAUSED{which} by {pause.by}{ago}" + (f": {pause.reason}" if pause.reason else ""))
    every = any(pause.queue == EVERY_QUEUE for pause in standing.pauses) or len(standing.names) <= 1
    return f" {'   '.join(told)}   {'Nothing' if every else 'None of its jobs'} is given out. " if told else ""


def head(standing: Standing, width: int, scene: Scene) -> list[Line]:
    """Two lines: how many wait and for what, since when; how many at each priority."""
    dot = "  - " if scene.ascii else "  · "
    first: Line = [Span(f"  {standing.depth:,} wait", "text bold")]
    parts = [("ready", standing.ready), ("scheduled", standing.scheduled), ("held up", standing.blocked)]
    first += [Span(f"{dot}{n:,} {word}", "text" if n else "muted") for word, n in parts]
    first.append(Span(f"{dot}{standing.running:,} running", "run" if standing.running else "muted"))
    if standing.oldest_at is not None:
        first.append(Span(f"{dot}oldest {figures.worked(scene.now - standing.oldest_at)}", "text"))
    second: Line = [Span("  priority ", "muted")]
    second += [Span(f" {priority}: {n:,} ", "text") for priority, n in standing.priorities] or [Span(" none", "muted")]
    return [fitted(first, width), fitted(second, width)]


def header(width: int) -> Line:
    """The titles of the jobs' list."""
    size, type_size = _sizes(width)
    cells = [padded("STATUS", 11), padded("NAME", size), padded("TYPE", type_size) if type_size else None]
    titles = [*filter(None, cells), padded("PRIO", PRIORITY, right=True), padded("WAITS", AGE, right=True), "WHY"]
    return fitted([Span("  " + " ".join(titles), "muted")], width)


def _sizes(width: int) -> tuple[int, int]:
    """Cells for NAME and TYPE (0: not shown)."""
    return (26, 14) if width >= 100 else (22, 0) if width >= 70 else (16, 0)


def row(live: LiveJob, jobs: Mapping[str, LiveJob], nth: int | None, names: int, scene: Scene, width: int) -> Line:
    """One job: what it is, its priority, how long it waits, why. ``names`` is how many queues there are."""
    size, type_size = _sizes(width)
    job, word = live.job, live.word
    line: Line = [Span(padded(f"{glyph(word, ascii_only=scene.ascii)} {word}", 11), role(word)), Span(" ")]
    line.append(Span(padded(cut_middle(job.name, size), size), "text" if job.status is Status.PENDING else "muted"))
    if type_size:
        line.append(Span(" " + padded(job.type, type_size), "muted"))
    look = "accent" if job.priority else "muted"
    line.append(Span(" " + padded(str(job.priority), PRIORITY, right=True), look))
    line.append(Span(" " + padded(figures.age(scene.now - job.created_at), AGE, right=True) + " ", "muted"))
    told = why(live, jobs, nth, scene, one_queue=names <= 1)
    room = width - 2 - sum(len(span.text) for span in line)
    return fitted([*line, Span(cut(told.text, max(0, room)), told.look)], max(0, width - 2))


def why(live: LiveJob, jobs: Mapping[str, LiveJob], nth: int | None, scene: Scene, *, one_queue: bool = True) -> Span:
    """Why it waits: for other jobs, for its time, or for those before it."""
    if live.job.status is not Status.PENDING or live.job.control_pending is not None:
        return reason(live, scene)
    if kind_of(live, jobs, scene.now) == BLOCKED:
        left = [each for each in live.job.after if each in jobs and jobs[each].job.status is not Status.COMPLETED]
        return Span("after " + ", ".join(jobs[each].job.name for each in left), "text")
    last = live.job.last_failure
    tried = "" if last is None else f"   try {live.job.attempt}: {last.message.splitlines()[0]}"
    if nth is None:
        at = figures.day_clock(live.job.run_at or scene.now, scene.now, scene.zone)
        return Span(f"starts {at}{tried}", "text")
    place = "next" if nth == 1 else f"{ordinal(nth)} in queue"
    return Span(f"{place if one_queue else ordinal(nth) + ' of all queues'}{tried}", "ok" if nth == 1 else "text")


def workers(standing: Standing, jobs: Mapping[str, LiveJob], width: int, height: int, scene: Scene) -> list[Line]:
    """The workers, as many as there is room for; what is not shown is counted."""
    found = standing.workers
    slots = sum(worker.slots or 0 for worker in found)
    used = sum(len(worker.held) for worker in found)
    lines: list[Line] = [
        [Span("  WORKERS", "muted bold"), Span(f"  {len(found):,}   {used} of {slots} slots", "muted")]
    ]
    if not found:
        told = "No worker was heard of within an hour: etlmon worker starts one."
        lines.append([Span(f"  {told}", "warn" if standing.depth else "muted")])
    room = max(1, height - 1)
    fits = found if len(found) <= room else found[: room - 1]
    lines += [_worker(worker, jobs, width, scene) for worker in fits]
    if len(fits) < len(found):
        lines.append([Span(f"  and {len(found) - len(fits):,} more: etlmon workers list", "muted")])
    return [fitted(line, width) for line in lines]


def _worker(worker: Worker, jobs: Mapping[str, LiveJob], width: int, scene: Scene) -> Line:
    """``busy  etl-3 4711  ▮▮▯▯ 2/4  beat 2s ago  orders_nightly 24s``."""
    look = WORKER_ROLES.get(worker.status, "text")
    line: Line = [Span(f"  {padded(worker.status, 7)}", look)]
    line.append(Span(padded(f"{worker.host or worker.id} {worker.pid or ''}", 20), "text"))
    n, slots = len(worker.held), worker.slots
    full, free = ("#", ".") if scene.ascii else ("▮", "▯")
    drawn = "" if slots is None or slots > 16 else full * n + free * max(0, slots - n) + " "
    line.append(Span(f" {drawn}{n}/{'?' if slots is None else slots}", "run" if n else "muted"))
    if worker.seen_at is not None:
        ago = figures.age(max(0, scene.now - worker.seen_at))
        line.append(Span(f"  beat {ago} ago", "warn" if worker.status == "silent" else "muted"))
    if worker.queues and worker.queues != ("default",):
        line.append(Span(f"  {','.join(worker.queues)}", "muted"))
    for held in worker.held[:NAMED_JOBS]:
        name = jobs[held.job_id].job.name if held.job_id in jobs else held.job_id[-8:]
        left = "" if held.until is None else f" {max(0, held.until - scene.now) // 1000}s"
        line += [Span(f"  {cut_middle(name, 24)}", "text"), Span(f" lease{left}", "muted")]
    if len(worker.held) > NAMED_JOBS:
        line.append(Span(f"  and {len(worker.held) - NAMED_JOBS} more", "muted"))
    return line
