"""How the console stands with its server, as a value: what the pill says, what the banner says. Pure."""

from __future__ import annotations

from datetime import tzinfo
from enum import StrEnum

import msgspec

from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span

STALE_MS = 40_000
"""A live connection that said nothing for so long is called stale; the server's heartbeat comes every 30 s."""
SLOW_CONNECT_MS = 5_000


class Standing(StrEnum):
    """What the connection does."""

    NO_SERVER = "no server"
    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    POLLING = "polling"
    WAITING = "waiting"
    REFUSED = "refused"
    """The server refused the token, or this console; no retry heals that."""


class LinkState(msgspec.Struct, kw_only=True):
    """The connection. Instants are this machine's milliseconds."""

    server: str = ""
    """Name of the profile, or the host."""
    url: str = ""
    standing: Standing = Standing.CONNECTING
    since: int = 0
    heard_at: int | None = None
    """When the server last said anything."""
    away_at: int | None = None
    """When it was last heard before it went away."""
    retries: int = 0
    retry_at: int | None = None
    latency_ms: int | None = None
    poll_s: float = 0.0
    """How often REST is asked where the WebSocket is refused."""
    caught_up: int = 0
    fault: str = ""
    degraded: str | None = None
    read_only: bool = False
    role: str = ""
    newer_protocol: str | None = None

    @property
    def is_away(self) -> bool:
        """Whether what is shown is from a while ago."""
        return self.away_at is not None and self.standing not in (Standing.LIVE, Standing.POLLING)

    @property
    def may_only_read(self) -> bool:
        """Whether this console was opened read-only, or its token is a viewer's."""
        return self.read_only or self.role == "viewer"

    def pill(self, now: int) -> Line:
        """The state of the connection in a few cells."""
        body = self._pill(now)
        return [*body, Span("  READ-ONLY", "muted")] if self.may_only_read else body

    def _pill(self, now: int) -> Line:
        match self.standing:
            case Standing.REFUSED | Standing.NO_SERVER:
                word = "NO SERVER" if self.standing is Standing.NO_SERVER else "NO TOKEN"
                return [Span(f"✗ {word}", "fail bold")]
            case Standing.WAITING:
                left = max(0, ((self.retry_at or now) - now + 999) // 1000)
                return [Span(f"↻ RETRY {self.retries} in {left}s", "warn bold")]
            case Standing.CONNECTING:
                if self.away_at is not None:
                    return [Span(f"↻ RETRY {max(1, self.retries)}", "warn bold")]
                return [Span("○ CONNECTING", "muted")]
            case Standing.CATCHING_UP:
                return [Span(f"◐ CATCHING UP {self.caught_up:,}" if self.caught_up else "◐ CATCHING UP", "warn bold")]
            case Standing.POLLING:
                return [Span(f"↻ POLLING {self.poll_s:g}s", "warn bold")]
        silent = now - (self.heard_at if self.heard_at is not None else now)
        if silent >= STALE_MS:
            return [Span(f"▲ STALE {figures.age(silent)}", "warn bold")]
        if self.degraded:
            return [Span("▲ DEGRADED", "warn bold")]
        latency = [] if self.latency_ms is None else [Span(f" {self.latency_ms} ms", "muted")]
        return [Span("● LIVE", "ok bold"), *latency]

    def banner(self, now: int, zone: tzinfo | None = None) -> tuple[str, str] | None:
        """A sentence about trouble and the key that helps; None when there is none."""
        if self.standing is Standing.REFUSED and self.away_at is not None:
            return f"{self.fault} What you see is from {figures.clock(self.away_at, zone)}.", "t enters one"
        if self.is_away and self.away_at is not None:
            ago = figures.worked(now - self.away_at)
            at = figures.clock(self.away_at, zone)
            whom = self.server or self.url or "the server"
            return (
                f"No word from {whom} since {at} ({ago}). What you see is from then. Jobs go on running.",
                "ctrl+r now",
            )
        if self.degraded and self.standing is Standing.LIVE:
            return f"The server cannot save ({self.degraded}). Rows with ~ are live but not saved. Jobs go on.", ""
        if self.newer_protocol:
            return self.newer_protocol, "pip install -U etlmon"
        return None

    def connecting_lines(self, now: int) -> list[str]:
        """What the body says before anything was ever heard."""
        if self.standing is Standing.NO_SERVER:
            return [
                "No etlmon server runs here.",
                "s starts one   d shows the demo   : another server   q quits",
            ]
        if self.standing is Standing.REFUSED:
            return [self.fault, "t enters one", "An admin makes one: etlmon tokens create --role operator --name ana"]
        lines = [f"Connecting to {self.url} …"]
        if now - self.since >= SLOW_CONNECT_MS:
            lines.append(f"No answer for {figures.worked(now - self.since)}. ctrl+r tries now, : another server.")
        return lines
