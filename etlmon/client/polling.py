"""What a live reader does without a socket: ask REST what changed, and tell it in the socket's words."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec

from etlmon.client.rest import Client
from etlmon.core.instants import format_instant, parse_instant
from etlmon.core.protocol import DEFAULT_TOPICS, MessageType, Wanted, split

OVERLAP_MS = 5_000
"""How far back each poll asks again, so that a change stamped while the last one was answered is not passed over."""
MOST_SEEN = 20_000
"""Jobs whose last seen ``seq`` is remembered; the longest unchanged is forgotten first."""
MOST_JOBS = 5_000
MOST_LINES = 50_000
"""The most jobs and log lines that one poll brings; what is beyond is told as a gap."""
ACTIVE = ("pending", "running", "paused")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the server (interface.md, WebSocket). ``at`` is its timestamp as sent."""

    type: str
    seq: int | None = None
    at: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Poller:
    """Remembers what was told, so that a poll brings only what is new."""

    def __init__(self, wanted: Wanted, *, after: int | None = None) -> None:
        self.wanted = wanted
        self.topics = frozenset(split(wanted.topics)) or DEFAULT_TOPICS
        self.last_seq = after
        """The last log line that a poll brought or that the socket had passed."""
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._active: set[str] = set()
        self._changed_at: int | None = None

    def go_on(self, seq: int | None, heard_at: str | None) -> None:
        """Take over from the socket: it had passed ``seq``, and told last at ``heard_at`` by the server's clock."""
        if "logs" in self.topics and seq is not None:
            self.last_seq = max(seq, self.last_seq or 0)
        if heard_at is not None:
            self._changed_at = max(parse_instant(heard_at), self._changed_at or 0)

    def forget(self) -> None:
        """The socket starts anew: nothing was told."""
        self._seen.clear()
        self._active.clear()
        self._changed_at = None
        self.last_seq = None

    def is_news(self, message: Message) -> bool:
        """Whether no poll has told this message of the socket before."""
        if message.type == MessageType.LOG_MESSAGE and message.seq is not None and self.last_seq is not None:
            return message.seq > self.last_seq
        if message.type in (MessageType.JOB_STATUS_UPDATE, MessageType.JOB_PROGRESS) and message.seq is not None:
            return self._seen.get(str(message.data.get("jobId")), -1) < message.seq
        return True

    def poll(self, client: Client) -> list[Message]:
        """What changed since the last poll, oldest first. The first poll of jobs is a snapshot of the active ones."""
        messages: list[Message] = []
        if "jobs" in self.topics:
            messages += self._poll_jobs(client)
        if "logs" in self.topics:
            messages += self._poll_lines(client)
        return sorted(messages, key=lambda message: message.seq or 0)

    def _poll_jobs(self, client: Client) -> Iterator[Message]:
        chosen = self._filter()
        first = self._changed_at is None
        active = {
            job["id"]: job
            for job in client.items("/api/jobs", _narrowed(chosen, "status:" + ",".join(ACTIVE)), limit=MOST_JOBS)
        }
        changed: dict[str, Any] = {}
        if self._changed_at is not None:
            since = format_instant(max(0, self._changed_at - OVERLAP_MS))
            changed = {
                job["id"]: job for job in client.items("/api/jobs", [*chosen, ("since", since)], limit=MOST_JOBS)
            }
        both = sorted((active | changed).values(), key=lambda job: job["seq"])
        self._changed_at = max((parse_instant(job["updatedAt"]) for job in both), default=self._changed_at or 0)
        news = [job for job in both if self._seen.get(job["id"], -1) < job["seq"]]
        gone = self._active - active.keys() - changed.keys()
        self._active = set(active)
        for job in news:
            self._remember(job)
        if first:
            yield Message(type=MessageType.SNAPSHOT, data={"jobs": both, "alerts": [], "cursor": None, "more": False})
            return
        yield from (Message(type=MessageType.JOB_GONE, data={"jobId": job_id}) for job_id in sorted(gone))
        yield from (_update(job) for job in news)

    def _remember(self, job: dict[str, Any]) -> None:
        self._seen[job["id"]] = job["seq"]
        self._seen.move_to_end(job["id"])
        while len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _filter(self) -> list[tuple[str, Any]]:
        wanted = self.wanted
        params: list[tuple[str, Any]] = []
        for key, words in (
            ("name", wanted.name),
            ("type", wanted.type),
            ("owner", wanted.owner),
            ("status", wanted.status),
        ):
            params += [(key, word) for word in split(words)]
        ids = [*split(wanted.job_ids), *split(wanted.job)]
        q = " ".join(
            part for part in (f"({wanted.q})" if wanted.q else "", f"id:{','.join(ids)}" if ids else "") if part
        )
        return [*params, ("q", q)] if q else params

    def _poll_lines(self, client: Client) -> list[Message]:
        """New lines, read from the newest back to the last one had: exact, whatever the lines' own clocks say."""
        params = [("order", "desc"), ("level", self.wanted.level), ("q", self.wanted.words)]
        for key, value in self._filter():
            params.append(("jobs" if key == "q" else key, value))
        if self.last_seq is None:  # from now on: the newest line there is marks the place
            newest = next(client.items("/api/logs", [("order", "desc")], limit=1), None)
            self.last_seq = newest["seq"] if newest else 0
            return []
        lines = []
        for line in client.items("/api/logs", params, limit=MOST_LINES):
            if line["seq"] <= self.last_seq:
                break
            lines.append(line)
        else:
            if len(lines) >= MOST_LINES:
                lines.append({"seq": lines[-1]["seq"] - 1, "_gap": True})
        self.last_seq = max((line["seq"] for line in lines), default=self.last_seq)
        return [_line(line) for line in reversed(lines)]


def _narrowed(params: list[tuple[str, Any]], q: str) -> list[tuple[str, Any]]:
    given = [value for key, value in params if key == "q"]
    return [*((key, value) for key, value in params if key != "q"), ("q", " ".join([*given, q]))]


def _update(job: dict[str, Any]) -> Message:
    failure = job.get("failure") or {}
    data = {"jobId": job["id"], **job, "errorMessage": failure.get("message")}
    return Message(type=MessageType.JOB_STATUS_UPDATE, seq=job["seq"], at=job["updatedAt"], data=data)


def _line(line: dict[str, Any]) -> Message:
    if "_gap" in line:
        return Message(type=MessageType.GAP, seq=line["seq"], data={"dropped": None, "from": None, "to": None})
    return Message(type=MessageType.LOG_MESSAGE, seq=line["seq"], at=line["at"], data=line)
