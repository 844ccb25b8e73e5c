"""The configuration: the tree of every setting, with its default, unit and meaning. Frozen; passed by constructor.

Inside, durations are integer milliseconds and sizes integer bytes. A setting is one field here; the example config
and docs/config.md are checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from etlmon.core import config_leaf as leaf
from etlmon.core.config_check import Section, read_section, read_toml, refusal, with_lines
from etlmon.core.config_leaf import Secret
from etlmon.core.cron import parse_cron
from etlmon.core.durations import UNIT_MS
from etlmon.core.errors import Fault, Invalid
from etlmon.core.filters import parse

SECOND, MINUTE, HOUR, DAY = UNIT_MS["s"], UNIT_MS["m"], UNIT_MS["h"], UNIT_MS["d"]
LEVELS = ("debug", "info", "warning", "error", "critical")
SEVERITIES = ("low", "medium", "high", "critical")
NEEDED_BY_KIND = {
    "webhook": ("url",),
    "slack": ("url",),
    "apprise": ("url",),
    "pagerduty": ("routing_key",),
    "email": ("host", "sender", "recipients"),
}
"""What a channel of each kind cannot do without."""
LOOPBACK = frozenset({"localhost", "::1", "[::1]"})

_HOST = r"[^\s/@]+"
_URL = r"https?://[^\s/@]+(/\S*)?"
_ORIGIN = r"https?://[^\s/@]+"


class Server(Section, frozen=True):
    """How the server is reached."""

    host: Annotated[
        str, leaf.text("Address to listen on.", pattern=_HOST, form="a host name or address", restart=True)
    ] = "127.0.0.1"
    port: Annotated[int, leaf.count("Port to listen on; 0 takes a free one.", high=65535, restart=True)] = 8081
    public_url: Annotated[
        str | None,
        leaf.text(
            "How clients reach it from outside, when that differs (behind a proxy).",
            pattern=_URL,
            form="a URL, as https://etlmon.example.org",
            restart=True,
            example="https://etlmon.example.org",
        ),
    ] = None
    allowed_origins: Annotated[
        tuple[str, ...],
        leaf.texts(
            "Web origins whose pages may send requests.",
            pattern=_ORIGIN,
            form="an origin, as https://ops.example.org",
            restart=True,
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        leaf.texts(
            "Host headers accepted beside localhost, host and public_url.",
            pattern=_HOST,
            form="a host name, as etl.example.org",
            restart=True,
        ),
    ] = ()
    tls_cert: Annotated[
        str | None, leaf.text("Certificate chain (PEM file).", restart=True, example="/etc/etlmon/cert.pem")
    ] = None
    tls_key: Annotated[
        str | None, leaf.text("Private key of tls_cert (PEM file).", restart=True, example="/etc/etlmon/key.pem")
    ] = None
    log_level: Annotated[str, leaf.word("What the server says of itself: this level and above.", *LEVELS)] = "info"
    log_format: Annotated[str, leaf.word("How it says it.", "text", "json", restart=True)] = "text"

    def faults(self) -> list[Fault]:
        """A certificate without its key, or the other way round."""
        if (self.tls_cert is None) == (self.tls_key is None):
            return []
        missing = "tls_key" if self.tls_key is None else "tls_cert"
        return [Fault(missing, "is needed: tls_cert and tls_key go together")]


class Auth(Section, frozen=True):
    """Who may ask, and how often."""

    enabled: Annotated[
        bool, leaf.flag("Whether a token is needed; false is refused unless host is a loopback address.", restart=True)
    ] = True
    requests_per_second: Annotated[
        int, leaf.count("Requests per token in the long run; loopback is not limited.", 1, unit="1/s", restart=True)
    ] = 100
    requests_burst: Annotated[int, leaf.count("Requests per token at once.", 1, restart=True)] = 500
    failures_per_minute: Annotated[
        int, leaf.count("Refused tokens per address before it is told to wait.", 1, unit="1/min", restart=True)
    ] = 10


class Store(Section, frozen=True):
    """How the store works."""

    ballast: Annotated[
        int,
        leaf.size("Disk kept in reserve, so that control and state reports still commit on a full disk.", restart=True),
    ] = 16 * 1024**2
    readers: Annotated[int, leaf.count("Connections that read at the same time.", 1, 64, restart=True)] = 4


class WebSocket(Section, frozen=True):
    """The live stream."""

    enabled: Annotated[bool, leaf.flag("Whether live streams are served.")] = True
    port: Annotated[int, leaf.count("Port of its own for live streams; 0: the server's.", high=65535, restart=True)] = 0
    max_connections: Annotated[int, leaf.count("Viewers at the same time.", 1)] = 1000
    heartbeat_interval: Annotated[
        int, leaf.duration("How often a quiet connection is told that it lives.", SECOND, HOUR)
    ] = 30 * SECOND
    message_queue_size: Annotated[
        int,
        leaf.count("Messages kept in memory for slow and resuming viewers; older ones are read from the store.", 100),
    ] = 10_000


class JobTracking(Section, frozen=True):
    """How jobs are followed."""

    progress_update_interval: Annotated[
        int, leaf.duration("Progress of one job within this time is merged; status is never delayed.", 0, MINUTE)
    ] = 0
    log_streaming_enabled: Annotated[bool, leaf.flag("Whether log lines are sent live.")] = True
    metrics_collection_enabled: Annotated[bool, leaf.flag("Whether metrics are kept.")] = True
    timeout_warning_threshold: Annotated[
        int, leaf.duration("A job that runs longer than this is warned of.", SECOND)
    ] = 25 * MINUTE
    lost_after: Annotated[
        int, leaf.duration("A job whose agent is silent for this long counts as lost.", 5 * SECOND)
    ] = 90 * SECOND


class Logs(Section, frozen=True):
    """Which log lines are kept, and for how long."""

    level: Annotated[str, leaf.word("Lines below this level are not kept.", *LEVELS)] = "debug"
    retention_days: Annotated[int, leaf.count("Days that log lines are kept.", 1, 36_500, unit="days")] = 30
    max_bytes: Annotated[int, leaf.size("Disk that log lines may take; the oldest days go first.", 1_000_000)] = (
        10 * 1000**3
    )
    max_line_bytes: Annotated[int, leaf.size("Longer lines are cut, with a mark.", 256)] = 16_000


class History(Section, frozen=True):
    """How long finished jobs are remembered."""

    retention_days: Annotated[
        int, leaf.count("Days that finished jobs and their events are kept.", 1, 36_500, unit="days")
    ] = 30


class Notifications(Section, frozen=True):
    """What is told to people, and how stubbornly."""

    enabled: Annotated[bool, leaf.flag("Whether anything is sent to channels.")] = True
    job_failure_alerts: Annotated[bool, leaf.flag("Tell of failed jobs.")] = True
    timeout_warnings: Annotated[bool, leaf.flag("Tell of jobs that run too long.")] = True
    resource_alerts: Annotated[bool, leaf.flag("Tell of CPU, memory and disk that run out.")] = True
    retry_attempts: Annotated[int, leaf.count("Tries of one delivery; then it is held.", 1, 100)] = 3
    retry_delay: Annotated[int, leaf.duration("Wait before the second try; it doubles from then on.", 100, HOUR)] = (
        5 * SECOND
    )
    max_age: Annotated[int, leaf.duration("A held delivery older than this expires.", MINUTE)] = 24 * HOUR


class Thresholds(Section, frozen=True):
    """From where on something is an alert."""

    failure_rate: Annotated[float, leaf.share("Share of failed jobs within failure_window.")] = 0.10
    failure_window: Annotated[int, leaf.duration("Window of failure_rate.", MINUTE)] = HOUR
    failure_min_jobs: Annotated[int, leaf.count("Finished jobs in the window before failure_rate counts.", 1)] = 10
    queue_depth: Annotated[int, leaf.count("Jobs that wait in the queue.", 1, unit="jobs")] = 50
    update_delay: Annotated[int, leaf.duration("From the reading of a report to the viewers.", 1)] = 500
    websocket_failures: Annotated[int, leaf.count("Failed live connections within 5 minutes.", 1)] = 10
    cpu: Annotated[float, leaf.share("Share of the machine's CPU.")] = 0.90
    memory: Annotated[float, leaf.share("Share of the machine's memory.")] = 0.90
    disk: Annotated[float, leaf.share("Share of the data directory's disk.")] = 0.95
    stalled: Annotated[int, leaf.duration("A running job without progress for this long.", SECOND)] = 10 * MINUTE


class Monitoring(Section, frozen=True):
    """What is watched, kept and told."""

    websocket: WebSocket = WebSocket()
    job_tracking: JobTracking = JobTracking()
    logs: Logs = Logs()
    history: History = History()
    notifications: Notifications = Notifications()
    thresholds: Thresholds = Thresholds()


class Channel(Section, frozen=True):
    """One place that notifications go to."""

    name: Annotated[
        str, leaf.text("What it is called.", pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", form="a short word")
    ]
    kind: Annotated[str, leaf.word("What is at the other end.", *NEEDED_BY_KIND)]
    enabled: Annotated[bool, leaf.flag("Whether it is used.")] = True
    min_severity: Annotated[str, leaf.word("Milder alerts are not sent here.", *SEVERITIES)] = "low"
    filter: Annotated[
        str | None, leaf.text("Only alerts of jobs that match (the filter grammar).", example="tag.env:prod")
    ] = None
    url: Annotated[
        Secret | None,
        leaf.address(
            "webhook, slack, apprise: where to send; many such URLs are secrets.",
            example="https://hooks.example.org/etl",
        ),
    ] = None
    secret: Annotated[Secret | None, leaf.secret("webhook: key that messages are signed with.", example="HOOK_KEY")] = (
        None
    )
    routing_key: Annotated[Secret | None, leaf.secret("pagerduty: the integration's key.", example="PD_KEY")] = None
    allow_private: Annotated[bool, leaf.flag("webhook: whether addresses inside your network are allowed.")] = False
    host: Annotated[
        str | None,
        leaf.text("email: SMTP server.", pattern=_HOST, form="a host name or address", example="smtp.example.org"),
    ] = None
    port: Annotated[int, leaf.count("email: SMTP port.", 1, 65535)] = 587
    security: Annotated[str, leaf.word("email: how the connection is kept private.", "starttls", "tls", "none")] = (
        "starttls"
    )
    username: Annotated[str | None, leaf.text("email: SMTP user.", example="etlmon")] = None
    password: Annotated[Secret | None, leaf.secret("email: SMTP password.", example="SMTP_PASSWORD")] = None
    sender: Annotated[str | None, leaf.text("email: From address.", example="etlmon@example.org")] = None
    recipients: Annotated[
        tuple[str, ...], leaf.texts("email: To addresses.", pattern=r"[^\s@]+@[^\s@]+", form="an address")
    ] = ()

    def faults(self) -> list[Fault]:
        """What its kind needs, and a filter that cannot be read."""
        faults = [
            Fault(key, f"is needed for kind {self.kind}") for key in NEEDED_BY_KIND[self.kind] if not getattr(self, key)
        ]
        if self.filter is not None:
            try:
                parse(self.filter, 0)
            except Invalid as fault:
                faults.append(Fault("filter", fault.errors[0].message))
        return faults


class Queue(Section, frozen=True):
    """Jobs that wait for a worker."""

    max_depth: Annotated[
        int, leaf.count("Jobs that may wait; beyond it the lowest priority is refused first.", 1, unit="jobs")
    ] = 10_000
    lease: Annotated[
        int, leaf.duration("A worker that is silent for this long loses its jobs to others.", 5 * SECOND, HOUR)
    ] = 30 * SECOND


class Worker(Section, frozen=True):
    """What the worker on this machine may do."""

    concurrency: Annotated[int, leaf.count("Jobs at the same time.", 1, 1000, restart=True)] = 4
    allowed_roots: Annotated[
        tuple[str, ...], leaf.texts("Directories that pipelines may read and write.", restart=True)
    ] = ()
    allowed_hosts: Annotated[tuple[str, ...], leaf.texts("Hosts that pipelines may upload to.", restart=True)] = ()


class Definition(Section, frozen=True):
    """What is known of a job's name: how to start it, when to expect it, its owner, limits."""

    type: Annotated[
        str | None,
        leaf.text(
            "Kind of work: csv_processing, field_mapping, api_upload or a word of yours.", example="csv_processing"
        ),
    ] = None
    config: Annotated[dict[str, Any] | None, leaf.table("The pipeline's own config ([jobs.NAME.config]).")] = None
    command: Annotated[
        tuple[str, ...], leaf.texts("Program and arguments to run instead of a pipeline; never a shell line.")
    ] = ()
    cwd: Annotated[str | None, leaf.text("command: its working directory.", example="/srv/etl")] = None
    env: Annotated[dict[str, str], leaf.tags("command: what its environment gains.")] = msgspec.field(
        default_factory=dict
    )
    steps: Annotated[tuple[str, ...], leaf.texts("Its phases, in order.")] = ()
    owner: Annotated[str | None, leaf.text("Who may control it with a viewer token.", example="ana")] = None
    tags: Annotated[dict[str, str], leaf.tags("Tags of every run.")] = msgspec.field(default_factory=dict)
    priority: Annotated[int, leaf.count("Higher goes first.", -1000, 1000)] = 0
    expected_duration: Annotated[int | None, leaf.duration("How long a run should take.", 1, example="10m")] = None
    timeout: Annotated[
        int | None, leaf.duration("A run is ended after this long; paused time does not count.", 1, example="1h")
    ] = None
    retries: Annotated[int, leaf.count("Tries beyond the first.", 0, 100)] = 0
    schedule: Annotated[
        str | None,
        leaf.text(
            "When it starts (cron: minute hour day month weekday).",
            check=parse_cron,
            example="0 2 * * *",
        ),
    ] = None
    timezone: Annotated[
        str, leaf.text("Zone of schedule (IANA name).", pattern=r"[A-Za-z0-9_+\-/]+", form="a zone, as Europe/Rome")
    ] = "UTC"
    grace: Annotated[int, leaf.duration("How late it may start or finish before that is an alert.")] = 10 * MINUTE
    start: Annotated[bool, leaf.flag("Whether etlmon starts it, or only expects it.")] = True

    def faults(self) -> list[Fault]:
        """Two things to start, or none."""
        faults = []
        if self.command and self.config is not None:
            faults.append(Fault("config", "cannot stand beside command: a job has one or the other"))
        if self.command and not self.command[0]:
            faults.append(Fault("command", "must begin with the program"))
        if self.config is not None and self.type is None:
            faults.append(Fault("type", "is needed: it says which pipeline reads config"))
        if self.schedule is not None and self.start and not self.command and self.config is None:
            faults.append(Fault("schedule", "has nothing to start: give command or config, or start = false"))
        return faults


class Profile(Section, frozen=True):
    """A server that commands can be pointed at by name."""

    url: Annotated[
        str | None,
        leaf.text(
            "The server.", pattern=_URL, form="a URL, as http://127.0.0.1:8081", example="https://etlmon.example.org"
        ),
    ] = None
    token_file: Annotated[
        str | None,
        leaf.text("File that holds the token (relative to the config file).", example="~/.etlmon-prod.token"),
    ] = None


class Config(Section, frozen=True):
    """Every setting."""

    server: Server = Server()
    auth: Auth = Auth()
    store: Store = Store()
    monitoring: Monitoring = Monitoring()
    channels: tuple[Channel, ...] = ()
    queue: Queue = Queue()
    worker: Worker = Worker()
    jobs: dict[str, Definition] = msgspec.field(default_factory=dict)
    profiles: dict[str, Profile] = msgspec.field(default_factory=dict)

    def faults(self) -> list[Fault]:
        """An open door without a lock, and channels of one name."""
        faults, names = [], [channel.name for channel in self.channels]
        host = self.server.host
        if not self.auth.enabled and not is_loopback(host):
            faults.append(Fault("auth.enabled", f"must be true while server.host is {host}: others can reach it"))
        for at, name in enumerate(names):
            if name in names[:at]:
                faults.append(Fault(f"channels[{at}].name", f"{name!r} is the name of another channel"))
        return faults


DEFAULT = Config()
"""What holds without a config file."""


def parse_config(toml: bytes, env: Mapping[str, str]) -> Config:
    """The config in a file's bytes; ``errors.Invalid`` with every fault, each with its path and line.

    ``env`` is where ``{env = "X"}`` secrets must be set; their values are not read here, nor are files.
    """
    faults: list[Fault] = []
    config = read_section(Config, read_toml(toml), "", env, faults)
    if config is None:
        raise refusal(with_lines(faults, toml))
    return config


def check_config(config: Config) -> None:
    """Ask again what must hold between server and auth, once flags have changed them; ``errors.Invalid`` if not."""
    faults = [Fault(f"server.{fault.path}", fault.message) for fault in config.server.faults()] + config.faults()
    if faults:
        raise refusal(faults)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    return host.lower() in LOOPBACK or (host.startswith("127.") and host.replace(".", "").isdigit())
