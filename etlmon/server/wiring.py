"""The parts of the server and how they are joined. Only ``main`` calls this."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from etlmon import __version__
from etlmon.core.config import Config
from etlmon.core.durations import UNIT_MS
from etlmon.core.events import Item
from etlmon.host import clock
from etlmon.host.clock import monotonic_s, now_ms
from etlmon.server.api.routes import Context
from etlmon.server.auth import Tokens
from etlmon.server.dispatch import Dispatch
from etlmon.server.dispatch import Settings as DispatchSettings
from etlmon.server.follows import Follows
from etlmon.server.limits import Limits
from etlmon.server.metrics import Counters
from etlmon.server.recorder import Recorder
from etlmon.server.recorder import Settings as RecorderSettings
from etlmon.server.services.duty import Duty, Service
from etlmon.server.services.leases import Leases
from etlmon.server.services.reaper import Reaper
from etlmon.server.services.resources import Resources
from etlmon.server.services.retention import Retention
from etlmon.server.services.schedules import Schedules
from etlmon.server.services.soundness import Soundness
from etlmon.server.services.token_upkeep import TokenUpkeep
from etlmon.server.store.logs.settings import LogSettings
from etlmon.server.store.store import Store, StoreSettings
from etlmon.server.stream.hub import Hub
from etlmon.server.stream.hub import Settings as HubSettings
from etlmon.server.submitting import Submitting

logger = logging.getLogger(__name__)


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is started with. ``origins`` says where each setting came from; ``tell`` is given the URL;
    ``worker``: it has an embedded one."""

    config: Config
    origins: dict[str, str]
    config_file: Path | None
    data_dir: Path
    tell: Callable[[str], None]
    worker: bool = False


class Publisher:
    """Told by the store of each commit, on the loop; passes it on in order. A listener's fault reaches no other."""

    def __init__(self) -> None:
        self.context: Context | None = None

    def __call__(self, items: Sequence[Item], head: int) -> None:
        """What was committed, and the head after it."""
        context = self.context
        if context is None:
            return
        listeners: tuple[Callable[[], None], ...] = (
            lambda: context.recorder.observe(items),
            lambda: context.dispatch.observe(items),
            lambda: context.hub.publish(items, head),
            lambda: context.follows.publish(items),
            lambda: context.counters.observe(items, now_ms()),
        )
        for tell in listeners:
            try:
                tell()
            except Exception:
                logger.exception("A listener failed on a commit", extra={"action": "publish", "head": head})


async def open_store(config: Config, data_dir: Path, publisher: Publisher) -> Store:
    """The store of the data directory."""
    logs = config.monitoring.logs
    settings = StoreSettings(
        readers=config.store.readers,
        ballast_bytes=config.store.ballast,
        logs=LogSettings(max_bytes=logs.max_bytes, retention_ms=logs.retention_days * UNIT_MS["d"]),
    )
    return await Store.open(data_dir, settings, on_commit=publisher, now=now_ms)


async def build_context(launch: Launch, store: Store, publisher: Publisher) -> Context:
    """Everything that the handlers work with, joined; from here on commits are published."""
    config = launch.config
    websocket = config.monitoring.websocket
    tokens = Tokens(await store.tokens(), enabled=config.auth.enabled, now=now_ms)
    hub = Hub(
        store,
        clock,
        HubSettings(
            max_connections=websocket.max_connections,
            heartbeat_ms=websocket.heartbeat_interval,
            ring_size=websocket.message_queue_size,
            sample_window_ms=config.monitoring.job_tracking.progress_update_interval,
            log_streaming=config.monitoring.job_tracking.log_streaming_enabled,
        ),
        authenticate=tokens.identify_token,
        version=__version__,
    )
    tracking = config.monitoring.job_tracking
    recorder = Recorder(
        store,
        hub,
        now=now_ms,
        settings=RecorderSettings(
            lost_after_ms=tracking.lost_after,
            max_line_bytes=config.monitoring.logs.max_line_bytes,
            history_ms=config.monitoring.history.retention_days * 86_400_000,
        ),
    )
    context = Context(
        config=config,
        origins=launch.origins,
        config_file=launch.config_file,
        data_dir=launch.data_dir,
        store=store,
        recorder=recorder,
        submitting=Submitting(store, now=now_ms, max_depth=config.queue.max_depth),
        dispatch=Dispatch(store, now=now_ms, settings=DispatchSettings(lease_ms=config.queue.lease)),
        hub=hub,
        tokens=tokens,
        limits=Limits(
            per_token_s=config.auth.requests_per_second,
            burst=config.auth.requests_burst,
            failures_per_minute=config.auth.failures_per_minute,
            monotonic=monotonic_s,
        ),
        follows=Follows(),
        counters=Counters(),
        resources=Resources(launch.data_dir),
        now=now_ms,
        started_at=now_ms(),
    )
    publisher.context = context
    await recorder.start()
    await context.dispatch.start()
    return context


def build_duties(context: Context) -> dict[str, Duty]:
    """The background duties, by name; also shown by ``/api/system/health``."""
    services: tuple[Service, ...] = (
        Reaper(context.recorder, monotonic_s),
        Leases(context.dispatch, monotonic_s),
        Schedules(context.submitting, context.config.jobs),
        Retention(context.recorder),
        Soundness(context.store, context.started_at),
        TokenUpkeep(context.tokens, context.hub, context.store),
        context.resources,
    )
    context.duties.update({service.name: Duty(service, now_ms) for service in services})
    return context.duties
