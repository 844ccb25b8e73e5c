"""What the stream counts of itself."""

from __future__ import annotations

from etlmon.server.metrics import DELAY_BUCKETS_S, Histogram


class StreamStats:
    """Since the start. ``update_delay``: seconds from the reading of a report to the write to its viewers' sockets."""

    def __init__(self) -> None:
        self.n_connected = 0
        self.n_refused = 0
        self.n_frames = 0
        self.n_bytes = 0
        self.n_joined = 0
        self.n_fell_behind = 0
        self.n_resumed = 0
        self.n_not_resumed = 0
        self.n_gaps = 0
        self.n_cut_slow = 0
        self.n_cut_silent = 0
        self.n_cut_talking = 0
        self.n_misplaced = 0
        """Live members found at another position than their group: always 0, or a fault of ours."""
        self.update_delay = Histogram(DELAY_BUCKETS_S)
