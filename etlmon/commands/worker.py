"""``etlmon worker``: claim queued jobs and run them."""

from __future__ import annotations

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.run import _duration


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 1000), metavar="N", help="Jobs at a time (worker.concurrency).")
@click.option("--queue", "queues", metavar="Q", multiple=True, help="The queue to serve (default); may be repeated.")
@click.option(
    "--grace",
    "grace_ms",
    metavar="DURATION",
    callback=_duration,
    default="10s",
    show_default=True,
    help="How long a job has to obey before it is made to; and between SIGTERM and SIGKILL.",
)
@click.option(
    "--drain",
    "drain_ms",
    metavar="DURATION",
    callback=_duration,
    default="7s",
    show_default=True,
    help="How long jobs have to come to a checkpoint when the worker is stopped.",
)
@click.option("--lock", metavar="FILE", hidden=True, help="Hold this lock while it lives, and leave if another does.")
@pass_context
def worker(
    context: Context, concurrency: int | None, queues: tuple[str, ...], grace_ms: int, drain_ms: int, lock: str | None
) -> int:
    """Claim queued jobs and run each as a process of its own, until SIGTERM.

    SIGTERM and Ctrl-C drain: running jobs stop at their next checkpoint and go back to the queue; a second one kills.
    What pipelines may read, write and upload to is said by [worker] in this machine's config file.
    """
    from etlmon.agent.worker import Options, Worker
    from etlmon.host.config_file import load
    from etlmon.host.paths import data_dir

    if lock is not None and not _hold(lock):
        return 0
    home = data_dir(context.data_dir)
    config, _ = load(context.config, data_dir=home)
    options = Options(
        source=context.find_endpoint,
        data_dir=home,
        concurrency=concurrency or config.worker.concurrency,
        queues=queues or ("default",),
        allowed_roots=config.worker.allowed_roots,
        allowed_hosts=config.worker.allowed_hosts,
        grace_ms=grace_ms,
        drain_ms=drain_ms,
        tell=_tell,
    )
    return Worker(options).run()


def _tell(line: str) -> None:
    """Nobody need be reading."""
    from contextlib import suppress

    with suppress(BrokenPipeError):
        click.echo(line)


def _hold(path: str) -> bool:
    """Lock a file for this process's life and write our pid into it; False when another process holds it."""
    import fcntl
    import os

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return True
