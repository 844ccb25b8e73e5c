"""``etlmon jobs submit``: queue a job of a definition, or of a type and its config."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, pass_context

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.commands.output import Item, Printer

MAX_CONFIG_BYTES = 4 * 2**20


@click.command("submit")
@click.argument("definition", metavar="[NAME]", required=False)
@click.option("--type", "type_", metavar="TYPE", help="The kind of work: csv_processing, field_mapping, api_upload.")
@click.option("--config", "config_file", metavar="FILE", help="With --type: its config as JSON; - reads stdin.")
@click.option("--name", "label", metavar="NAME", help="With --type: what the job is called (default: the type).")
@click.option("--priority", type=click.IntRange(-1000, 1000), metavar="N", help="Higher is sooner (default 0).")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="A tag; may be repeated.")
@click.option("--after", multiple=True, metavar="ID", help="Only once this job has completed; may be repeated.")
@click.option("--run-at", metavar="TIME|DURATION", help="Not before this timestamp, or so long from now (10m).")
@click.option("--retries", type=click.IntRange(0, 100), metavar="N", help="Tries beyond the first.")
@click.option("--timeout", metavar="DURATION", help="The job's own limit: it fails when it takes longer.")
@click.option("--dedup-key", metavar="KEY", help="While a job with this key is not over, it is the answer.")
@click.option("--queue", "queue", metavar="QUEUE", help="Which queue (default: default).")
@click.option("--wait", "wait_for_it", is_flag=True, help="Return when it has ended: 0 completed, else 1.")
@click.option("--follow", is_flag=True, help="Show its log until it has ended; the exit code as with --wait.")
@pass_context
def submit(context: Context, /, wait_for_it: bool, follow: bool, **options: Any) -> int:
    """Queue a job: NAME of a definition, or --type with --config.

    \b
    etlmon jobs submit orders_nightly --follow
    id=$(etlmon jobs submit --type csv_processing --config clean.json) && etlmon jobs submit load --after $id
    """
    client = context.client()
    body = _body(client, **options)
    job = client.post("/api/jobs", body=body)
    tell_standing(job, is_known=job.get("id") != body["id"])
    printer = context.printer()
    if not (wait_for_it or follow):
        print_queued(printer, job)
        return int(job.get("status") == "failed")
    return _to_its_end(context, printer, job, follow=follow)


def _body(
    client: Client,
    *,
    definition: str | None,
    type_: str | None,
    config_file: str | None,
    label: str | None,
    tags: Sequence[str],
    after: Sequence[str],
    run_at: str | None,
    timeout: str | None,
    **plain: Any,
) -> dict[str, Any]:
    """The request. It carries an id of its own: sent twice it queues one job, and another id in the answer is news."""
    from etlmon.commands.job_ids import resolve_all
    from etlmon.core.errors import Usage
    from etlmon.host.clock import new_id, now_ms

    if (definition is None) == (type_ is None):
        raise Usage("Give the NAME of a definition, or --type with --config.")
    if type_ is None and (config_file or label):
        raise Usage("--config and --name go with --type: a definition has its own.")
    body = {
        "id": new_id(),
        "name": definition or label,
        "type": type_,
        "config": _config(config_file) if type_ is not None else None,
        "tags": _tags(tags),
        "after": resolve_all(client, after),
        "runAt": _run_at(run_at, now_ms()),
        "timeoutMs": _duration(timeout),
        "priority": plain["priority"],
        "retries": plain["retries"],
        "dedupKey": plain["dedup_key"],
        "queue": plain["queue"],
    }
    return {key: value for key, value in body.items() if value is not None and value != []}


def _config(file: str | None) -> dict[str, Any]:
    import msgspec

    from etlmon.core.errors import Usage

    if file is None:
        return {}
    if file == "-":
        raw = sys.stdin.buffer.read(MAX_CONFIG_BYTES + 1)
    else:
        with open(file, "rb") as opened:
            raw = opened.read(MAX_CONFIG_BYTES + 1)
    if len(raw) > MAX_CONFIG_BYTES:
        raise Usage(f"--config: {file} is larger than {MAX_CONFIG_BYTES // 2**20} MiB.")
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Usage(f"--config: {file} holds no JSON object: {error}.") from error


def _tags(given: Sequence[str]) -> dict[str, str] | None:
    from etlmon.core.errors import Usage

    pairs = [text.partition("=") for text in given]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise Usage(f"--tag takes KEY=VALUE, not {key!r}.")
    return {key: value for key, _, value in pairs} or None


def _run_at(text: str | None, now: int) -> str | None:
    """A timestamp as it is; a duration as so long from now."""
    from etlmon.core.durations import parse_duration
    from etlmon.core.errors import Usage
    from etlmon.core.instants import format_instant, parse_instant

    if text is None:
        return None
    try:
        return format_instant(now + parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        return format_instant(parse_instant(text))
    except (ValueError, OverflowError) as error:
        example = "a timestamp (2026-01-02T03:30:00Z) or a duration from now (10m)"
        raise Usage(f"--run-at takes {example}, not {text!r}.") from error


def _duration(text: str | None) -> int | None:
    from etlmon.core.durations import parse_duration
    from etlmon.core.errors import Usage

    try:
        return None if text is None else max(1, parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise Usage(f"--timeout: {error}.") from error


# -- what is told


def tell_standing(job: Item, *, is_known: bool = False) -> None:
    """Tell what the submitter may not expect: the job was there already, was refused, or its queue is paused."""
    from etlmon.commands.output import note
    from etlmon.commands.queue import paused_sentence

    if is_known:
        note(f"etlmon: nothing new is queued: {job.get('name')} is {job.get('status')} under this dedup key.")
    failure = job.get("failure")
    if job.get("status") == "failed" and isinstance(failure, dict):
        note(f"etlmon: {job.get('name')} was refused: {failure.get('message')}")
    paused = (job.get("queue") or {}).get("paused")
    if paused and job.get("status") == "pending":
        note(f"etlmon: {paused_sentence(paused)} The job waits.")


def print_queued(printer: Printer, job: Item) -> None:
    """The id alone in a pipe; a row on a terminal; the whole record where one was asked for."""
    from etlmon.commands.job_columns import COLUMNS, WIDE
    from etlmon.commands.output import write
    from etlmon.core.text import shown

    if printer.structured or printer.format == "name":
        printer.item(job, lambda item, look: ())
    elif printer.format == "table" and not printer.look.terminal:
        write(shown(str(job.get("id"))) + "\n")
    else:
        printer.items([job], COLUMNS, wide=WIDE)


def _to_its_end(context: Context, printer: Printer, job: Item, *, follow: bool) -> int:
    """Wait for the job, with its log if asked for; 0 when it has completed, else 1."""
    from etlmon.commands.job_wait import settled
    from etlmon.commands.output import note

    is_piped = not (printer.structured or printer.look.terminal)
    if is_piped and not follow:
        print_queued(printer, job)
        sys.stdout.flush()
    else:
        note(f"etlmon: {job.get('name')} is queued as {job.get('id')}")
    if follow:
        _show_log(context, printer, str(job["id"]))
    jobs, code = settled(context, [str(job["id"])], ("completed",), None)
    if follow and code:
        note(f"etlmon: {_ended_as(jobs[0])}")
    elif not follow and not is_piped:
        print_queued(printer, jobs[0])
    return code


def _ended_as(job: Item) -> str:
    failure = job.get("failure")
    why = f": {failure.get('message')}" if isinstance(failure, dict) else ""
    return f"{job.get('name')} has {'been ' if job.get('status') == 'cancelled' else ''}{job.get('status')}{why}"


def _show_log(context: Context, printer: Printer, job_id: str) -> None:
    from etlmon.commands.job_logs import followed
    from etlmon.commands.log_lines import Choice, show_lines

    choice = Choice(params=[], tail=None, follow=True, timestamps=False)
    lines = followed(context, [job_id], f"/api/jobs/{job_id}/logs", [], choice)
    show_lines(printer, lines, names=False, choice=choice)
