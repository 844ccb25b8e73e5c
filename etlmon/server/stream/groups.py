"""Groups: all subscriptions that select the same share one evaluation, one encoding and one frame.

A group knows its live members only to hand them frames; who is behind waits in its own session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from etlmon.core import filters
from etlmon.core.filters import Node
from etlmon.core.job import Job, LogLine
from etlmon.core.protocol import MAX_FRAME_BYTES, MAX_FRAME_MESSAGES, MessageType, Topic
from etlmon.core.words import has_words
from etlmon.server.stream.messages import ChangeEntry, Entry, LinesEntry, NoticeEntry, Parts
from etlmon.server.stream.selection import Selection, build_sees

if TYPE_CHECKING:
    from etlmon.server.stream.snapshot import Snapshot
    from etlmon.server.stream.subscription import Subscription

Message = tuple[str | None, int, bytes]
"""(what older sample it replaces, by job; None: no one's; its ``seq``; its bytes)"""


class Box:
    """Messages on their way to one frame, in ``seq`` order; of a job's samples only the newest stays."""

    __slots__ = ("_kept", "_n", "n_bytes")

    def __init__(self) -> None:
        self._kept: dict[str | int, bytes] = {}
        self._n = 0
        self.n_bytes = 0

    def add(self, sample_of: str | None, message: bytes) -> None:
        """Add the newest message."""
        if sample_of is None:
            self._n += 1
            self._kept[self._n] = message
        else:
            older = self._kept.pop(sample_of, None)
            if older is not None:
                self.n_bytes -= len(older)
            self._kept[sample_of] = message
        self.n_bytes += len(message)

    @property
    def full(self) -> bool:
        """Whether a frame has room for no more."""
        return len(self._kept) >= MAX_FRAME_MESSAGES or self.n_bytes >= MAX_FRAME_BYTES

    @property
    def only_samples(self) -> bool:
        """Whether everything in it may wait for newer samples."""
        return self._n == 0

    @property
    def has_samples(self) -> bool:
        """Whether there is a sample in it."""
        return len(self._kept) > self._n

    def take(self) -> list[bytes]:
        """All messages; the box is empty after."""
        messages = list(self._kept.values())
        self._kept.clear()
        self._n = 0
        self.n_bytes = 0
        return messages

    def __len__(self) -> int:
        return len(self._kept)


class Group:
    """One selection: what of each entry belongs to it, what waits for the next frame, and who gets that frame.

    ``position``: every live member has been handed all that is selected up to here. ``pending_from``: from there to
    the first pending message nothing is selected. ``read_at``: when the server read the reports behind ``pending``.
    ``members``: the live ones, by whether they take batches.
    """

    def __init__(self, ch: int, selection: Selection, node: Node, position: int) -> None:
        self.ch = ch
        self.selection = selection
        self.position = position
        self.pending = Box()
        self.pending_from = position
        self.read_at: list[int] = []
        self.members: dict[bool, dict[Subscription, None]] = {False: {}, True: {}}
        self.n_users = 0
        self.snapshot: Snapshot | None = None
        self.snapshotting = asyncio.Lock()
        self.flushed_at = 0.0
        self.rest_s = 0.0
        self.sampled_at = 0.0
        self._ch = b"%d" % ch
        self._sees = build_sees(node, selection)
        self._moved_by_samples = filters.moved_by_samples(node)
        self._types = selection.types
        self._jobs = Topic.JOBS in selection.topics
        self._metrics = Topic.METRICS in selection.topics
        self._notices = frozenset(selection.topics) if selection.scope is None else frozenset()

    @property
    def is_watched(self) -> bool:
        """Whether there is a live member."""
        return bool(self.members[False] or self.members[True])

    def join(self, subscription: Subscription, head: int) -> None:
        """Make ``subscription``, which has all up to ``head``, a live member. Nothing may be pending."""
        if not self.is_watched:
            self.position = head
        subscription.cursor = self.position  # from there to the head nothing is selected
        self.members[subscription.session.batch][subscription] = None

    def drop(self, subscription: Subscription) -> None:
        """Take a member out, if it is one. Nothing is gathered for a group that nobody watches."""
        self.members[subscription.session.batch].pop(subscription, None)
        if not self.is_watched:
            self.pending.take()
            self.read_at.clear()

    def passed(self, head: int) -> int:
        """Up to where the live members have everything."""
        return self.pending_from if self.pending else max(self.position, head)

    def sees(self, job: Job, now: int) -> bool:
        """Whether the job, as it is, is in this selection."""
        return self._sees(job, now)

    def messages(self, entry: Entry, after: int) -> Iterator[Message]:
        """What of ``entry``, after the number ``after``, belongs to this group, in ``seq`` order."""
        if type(entry) is ChangeEntry:
            made = self._of_change(entry)
            if made is not None:
                yield made
        elif type(entry) is LinesEntry:
            yield from self._of_lines(entry, after)
        elif type(entry) is NoticeEntry:
            notice = entry.notice
            if notice.topic in self._notices and (self._types is None or notice.type in self._types):
                yield None, notice.seq, self._whole(entry.parts())

    def _of_change(self, entry: ChangeEntry) -> Message | None:
        change = entry.change
        if not (self._jobs or self._metrics):
            return self._of_gap(entry)
        after, now = change.after, change.at
        seen = self._sees(after, now)
        is_sample = change.event is None
        if not seen:
            if not self._was_seen(entry):
                return None
            return self._message(MessageType.JOB_GONE, entry.gone(), change.seq, after.id if is_sample else None)
        if entry.is_gap and self.selection.logs:
            return self._of_gap(entry)
        sample_of = after.id if is_sample and not entry.is_status else None
        if self._jobs and not (self._metrics and change.metrics_only and not entry.is_status):
            return self._message(entry.type, entry.update(), change.seq, sample_of)
        if self._metrics and (change.before is None or change.before.metrics != after.metrics):
            if sample_of is not None:
                sample_of += "\0metrics"  # it must not replace a progress message, which says more
            return self._message(MessageType.METRICS_UPDATE, entry.metrics(), change.seq, sample_of)
        return None

    def _of_gap(self, entry: ChangeEntry) -> Message | None:
        """Lines that an agent gave up, for those who read lines."""
        change = entry.change
        if not (entry.is_gap and self.selection.logs and self._sees(change.after, change.at)):
            return None
        return self._message(MessageType.GAP, entry.gap(), change.seq, None)

    def _was_seen(self, entry: ChangeEntry) -> bool:
        """Whether the job was in the selection before the change that it is not in any more."""
        change = entry.change
        if entry.before_unknown:
            return self._moved_by_samples or not entry.durable  # it may have been: saying so twice does no harm
        if change.before is None or (change.event is None and not entry.is_status and not self._moved_by_samples):
            return False
        return self._sees(change.before, change.at)

    def _message(self, kind: MessageType, parts: Parts, seq: int, sample_of: str | None) -> Message | None:
        if self._types is not None and kind not in self._types:
            return None
        return sample_of, seq, self._whole(parts)

    def _of_lines(self, entry: LinesEntry, after: int) -> Iterator[Message]:
        selection = self.selection
        if not selection.logs or (self._types is not None and MessageType.LOG_MESSAGE not in self._types):
            return
        run, level, words = entry.run, selection.level, selection.words
        seen = {job_id: self._sees(job, run.at) for job_id, job in self._candidates(entry)}
        if not any(seen.values()):
            return
        for line in self._lines(entry):
            if line.seq <= after or line.level < level or not seen.get(line.job_id):
                continue
            if words and not has_words(line.message, words):
                continue
            yield None, line.seq, self._whole(entry.line(line))

    def _candidates(self, entry: LinesEntry) -> Iterable[tuple[str, Job]]:
        jobs, wanted = entry.run.jobs, self.selection.job_ids
        if wanted is None:
            return jobs.items()
        return [(job_id, jobs[job_id]) for job_id in jobs if job_id in wanted]

    def _lines(self, entry: LinesEntry) -> Iterable[LogLine]:
        wanted = self.selection.job_ids
        if wanted is not None and len(wanted) == 1:
            return entry.of_job(next(iter(wanted)))
        return entry.run.lines

    def _whole(self, parts: Parts) -> bytes:
        return parts[0] + self._ch + parts[1]


class Groups:
    """Every group in use, and which of them must be asked about an entry: those with job ids by an index."""

    def __init__(self) -> None:
        self._groups: dict[Selection, Group] = {}
        self._by_job: dict[str, dict[Group, None]] = {}
        self._of_jobs: dict[Group, None] = {}
        self._of_lines: dict[Group, None] = {}
        self._of_notices: dict[Group, None] = {}
        self._next_ch = 1

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def enter(self, selection: Selection, node: Node, position: int) -> Group:
        """The group of a selection, made when it is new. Each ``enter`` is answered by one ``leave``."""
        group = self._groups.get(selection)
        if group is None:
            group = Group(self._next_ch, selection, node, position)
            self._next_ch += 1
            self._groups[selection] = group
            for index in self._indexes(group):
                index[group] = None
        group.n_users += 1
        return group

    def leave(self, group: Group) -> None:
        """One user less; a group without users is forgotten."""
        group.n_users -= 1
        if group.n_users > 0:
            return
        del self._groups[group.selection]
        for index in self._indexes(group):
            index.pop(group, None)
        for job_id in group.selection.job_ids or ():
            if not self._by_job[job_id]:
                del self._by_job[job_id]

    def interested(self, entry: Entry) -> Iterable[Group]:
        """The groups that ``entry`` may concern."""
        if type(entry) is ChangeEntry:
            listed = self._by_job.get(entry.change.after.id)
            return self._of_jobs if listed is None else [*self._of_jobs, *listed]
        if type(entry) is LinesEntry:
            if not self._by_job:
                return self._of_lines
            listed = {group: None for job_id in entry.run.jobs for group in self._by_job.get(job_id, ())}
            return [*self._of_lines, *listed]
        return self._of_notices

    def _indexes(self, group: Group) -> list[dict[Group, None]]:
        """Where the group is listed."""
        selection = group.selection
        lists = [self._of_notices] if selection.scope is None else []
        if selection.job_ids is not None:
            return lists + [self._by_job.setdefault(job_id, {}) for job_id in selection.job_ids]
        if selection.jobs or selection.logs:  # who reads lines is told of lines given up, which is an event of a job
            lists.append(self._of_jobs)
        return lists + [self._of_lines] * selection.logs
