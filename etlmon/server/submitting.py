"""Submitting: a request for work → a queued job and what its worker is to do. From a definition, from a type and its
config, or from a finished job that is tried again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core import queue
from etlmon.core.access import Identity
from etlmon.core.config import Definition
from etlmon.core.errors import Conflict, Fault, Forbidden, Invalid, NotFound, TooManyRequests
from etlmon.core.job import FailureKind, Job, Record, Status
from etlmon.core.queue import DEFAULT_QUEUE, Submission
from etlmon.core.text import clean_name, hint
from etlmon.core.work import clean_tags
from etlmon.host.clock import new_id
from etlmon.server.store.queue import QueuePause, Spec
from etlmon.server.taking import commit_verdict

if TYPE_CHECKING:
    from etlmon.server.store.store import Store
    from etlmon.server.store.transaction import Transaction

COMMAND = "command"
HIDDEN = "***"
RETRY_AFTER_S = 5.0


class Order(Record, frozen=True, kw_only=True):
    """What is asked for: ``name`` of a definition, or ``type`` with ``config``. What is None is the definition's."""

    id: str | None = None
    name: str | None = None
    type: str | None = None
    config: dict[str, Any] | None = None
    queue: str | None = None
    priority: int | None = None
    tags: dict[str, str] | None = None
    expected_duration_ms: int | None = None
    timeout_ms: int | None = None
    retries: int | None = None
    dedup_key: str | None = None
    run_at: int | None = None
    after: tuple[str, ...] = ()


class Plan(Record, frozen=True, kw_only=True):
    """A job to queue and its work; ``refusal`` says why it is to fail before anything is touched."""

    job: Submission
    spec: Spec
    refusal: str | None = None


class Queued(Record, frozen=True, kw_only=True):
    """What came of a submission: the job, whether it is new, and how its queue stands."""

    job: Job
    is_new: bool
    depth: int
    pauses: list[QueuePause]


def plan_of(order: Order, definitions: Mapping[str, Definition], owner: str | None) -> Plan:
    """The job that ``order`` asks for. Invalid when it makes no sense; a refused config is a plan with a refusal."""
    if order.type is not None:
        return _plan_of_type(order, order.type, owner)
    if order.name is None:
        raise Invalid("Give the name of a definition, or type and config.", errors=(Fault("name", "missing"),))
    definition = definitions.get(order.name)
    if definition is None:
        near = hint(order.name, definitions) or ": [jobs.NAME] in the config defines what can be started"
        detail = f"Nothing is defined as {order.name[:200]!r}{near}."
        raise Invalid(detail, errors=(Fault("name", "is no definition"),))
    if order.config is not None:
        raise Invalid("config needs type: a definition has its own.", errors=(Fault("config", "needs type"),))
    return plan_of_definition(order.name, definition, order)


def _plan_of_type(order: Order, kind: str, owner: str | None) -> Plan:
    if kind.lower() == COMMAND:
        detail = "Commands come only from the server's config file: define one as [jobs.NAME] and submit its name."
        raise Invalid(detail, errors=(Fault("type", "command comes only from the config file"),))
    config = order.config or {}
    job = Submission(
        id=order.id or new_id(),
        name=clean_name(order.name or kind),
        type=kind,
        queue=order.queue or DEFAULT_QUEUE,
        config=shown_config(config),
        steps=_steps(kind),
        owner=owner,
        tags=clean_tags(order.tags or {}),
        priority=order.priority or 0,
        expected_duration_ms=order.expected_duration_ms,
        timeout_ms=order.timeout_ms,
        retries=order.retries or 0,
        dedup_key=order.dedup_key,
        run_at=order.run_at,
        after=order.after,
    )
    spec = Spec(type=kind, config=config, timeout_ms=order.timeout_ms, work_key=job.id)
    return Plan(job=job, spec=spec, refusal=refusal_of(kind, config))


def plan_of_definition(name: str, definition: Definition, order: Order) -> Plan:
    """The job of a definition, with what ``order`` says otherwise. Invalid when the definition only expects it."""
    if not definition.start:
        detail = f"{name} is only expected here (start = false): it is started elsewhere."
        raise Invalid(detail, errors=(Fault("name", "start = false"),))
    if not definition.command and definition.config is None:
        detail = f"{name} has nothing to start: give it a command or a config in the config file."
        raise Invalid(detail, errors=(Fault("name", "nothing to start"),))
    kind = definition.type or COMMAND
    timeout_ms = definition.timeout if order.timeout_ms is None else order.timeout_ms
    job = Submission(
        id=order.id or new_id(),
        name=name,
        type=kind,
        queue=order.queue or DEFAULT_QUEUE,
        config=shown_config(definition.config or {}),
        command=definition.command,
        steps=definition.steps or _steps(kind),
        owner=definition.owner,
        tags=clean_tags(definition.tags | (order.tags or {})),
        priority=definition.priority if order.priority is None else order.priority,
        expected_duration_ms=order.expected_duration_ms or definition.expected_duration,
        timeout_ms=timeout_ms,
        retries=definition.retries if order.retries is None else order.retries,
        dedup_key=order.dedup_key,
        run_at=order.run_at,
        after=order.after,
    )
    spec = Spec(
        type=kind,
        config=definition.config,
        command=definition.command,
        cwd=definition.cwd,
        env=definition.env,
        timeout_ms=timeout_ms,
        work_key=job.id,
    )
    return Plan(job=job, spec=spec, refusal=None if definition.command else refusal_of(kind, definition.config or {}))


def refusal_of(kind: str, config: dict[str, Any]) -> str | None:
    """Why a pipeline would not take this config, every fault with its path; None when it would. Invalid for a type that
    no worker runs."""
    from etlmon.core.pipeline_config import PIPELINES, parse_pipeline  # 10 ms to import: only for those who submit

    if kind not in PIPELINES:
        near = hint(kind, PIPELINES) or f": use {', '.join(PIPELINES)}"
        raise Invalid(f"There is no pipeline {kind[:100]!r}{near}.", errors=(Fault("type", "is no pipeline"),))
    try:
        parse_pipeline(kind, config)
    except Invalid as fault:
        return fault.detail
    return None


def _steps(kind: str) -> tuple[str, ...]:
    from etlmon.core.pipeline_config import STEPS

    return STEPS.get(kind, ())


def shown_config(config: dict[str, Any]) -> dict[str, Any]:
    """What viewers may see of a config: headers are never shown, and no URL with a name and password in it."""
    return {key: _shown(key, value) for key, value in config.items()}


def _shown(key: str, value: Any) -> Any:
    if key == "headers" and isinstance(value, dict):
        return dict.fromkeys(value, HIDDEN)
    if isinstance(value, dict):
        return shown_config(value)
    if isinstance(value, str) and "://" in value and "@" in value.split("://", 1)[1].split("/", 1)[0]:
        scheme, rest = value.split("://", 1)
        return f"{scheme}://{HIDDEN}@{rest.split('@', 1)[1]}"
    return value


class Submitting:
    """Takes plans into the queue. ``now`` gives wall milliseconds."""

    def __init__(self, store: Store, *, now: Callable[[], int], max_depth: int) -> None:
        self._store = store
        self._now = now
        self._max_depth = max_depth

    async def submit(self, plan: Plan, identity: Identity) -> Queued:
        """Queue a job; the one that is there already when its id or live dedupKey is known. TooManyRequests when the
        queue is full for its priority; Invalid for a job in ``after`` that is not there."""
        now = self._now()

        def op(tx: Transaction) -> Queued:
            known = _known(tx, plan.job)
            if known is not None:
                if not identity.sees(known):
                    raise Conflict(f"The id {plan.job.id} is taken.")
                return _queued(tx, known, is_new=False)
            self._check_room(tx, plan.job.priority)
            job = enqueue(tx, plan, identity.actor, now)
            detail = {"name": job.name, "type": job.type, "priority": job.priority}
            tx.audit(at=now, actor=identity.actor, action="job.submit", subject=job.id, detail=detail)
            return _queued(tx, job, is_new=True)

        return await self._store.write(op)

    def _check_room(self, tx: Transaction, priority: int) -> None:
        """The lowest priority is refused first: each sees only its equals and betters, up to twice the depth in all."""
        depth = self._max_depth
        if tx.queue.depth(priority=priority) < depth and tx.queue.depth() < 2 * depth:
            return
        detail = f"The queue is full: {depth} jobs of this priority or above wait (queue.max_depth). Try again later."
        raise TooManyRequests(detail, retry_after_s=RETRY_AFTER_S)

    async def known_since(self, name: str, schedule: str, now: int) -> int:
        """Since when a schedule is known as it is: a new or changed one starts nothing that lies before now."""
        return await self._store.write(lambda tx: tx.queue.schedule_since(name, schedule, now))

    async def start_slot(self, name: str, slot: int, plan: Plan, by: str) -> Job | None:
        """Queue the job of a schedule's slot; None when the slot was started before."""
        now = self._now()

        def op(tx: Transaction) -> Job | None:
            if not tx.queue.take_slot(name, slot, plan.job.id):
                return None
            self._check_room(tx, plan.job.priority)
            return enqueue(tx, plan, by, now)

        return await self._store.write(op)

    async def retry(self, job_id: str, reason: str | None, identity: Identity, *, id_now: dict[str, str]) -> Job:
        """A new job for a finished one. NotFound, Forbidden, Conflict (which shows the command of an observed job).

        While its last retry is not over, that is the answer. ``id_now`` maps jobs that were retried together to their
        new ids, so that they wait for each other again.
        """
        now, new = self._now(), new_id()
        again_key = f"retry:{job_id}"

        def op(tx: Transaction) -> Job:
            job = tx.job(job_id)
            if job is None or not identity.sees(job):
                raise NotFound(f"There is no job {job_id}.")
            if not identity.may_control(job):
                raise Forbidden(f"Only an operator or the job's owner ({job.owner or 'nobody'}) may retry it.")
            check_retry(job)
            live = tx.queue.live_of(again_key)
            if live is not None and (under_way := tx.job(live)) is not None:
                return under_way
            spec = tx.queue.work(job_id)
            if spec is None:
                raise Conflict("What the job had to do is no longer known: submit it anew.")
            self._check_room(tx, job.priority)
            after = tuple(found for one in job.after if (found := _standing(tx, one, id_now)) is not None)
            plan = Plan(job=again(job, new, after, again_key), spec=msgspec.structs.replace(spec, work_key=new))
            if job.failure is not None and job.failure.kind is FailureKind.REJECTED and not spec.command:
                plan = msgspec.structs.replace(plan, refusal=refusal_of(spec.type, spec.config or {}))
            made = enqueue(tx, plan, identity.actor, now)
            detail = {"reason": reason, "newId": new}
            tx.audit(at=now, actor=identity.actor, action="job.retry", subject=job_id, detail=detail)
            return made

        return await self._store.write(op)


def _queued(tx: Transaction, job: Job, *, is_new: bool) -> Queued:
    return Queued(job=job, is_new=is_new, depth=tx.queue.depth(queue=job.queue), pauses=tx.queue.pauses())


def check_retry(job: Job) -> None:
    """Conflict when the job cannot be retried; of an observed one it shows the command."""
    why = queue.retry_fault(job)
    if why is None:
        return
    if job.is_final and job.command:
        raise Conflict(f"{why}: run {shlex.join(job.command)}", extra={"command": list(job.command)})
    raise Conflict(why if not job.is_final else f"{why}: start it where it was started before.")


def again(job: Job, new: str, after: tuple[str, ...], dedup_key: str) -> Submission:
    """The submission that repeats a finished job."""
    return Submission(
        id=new,
        name=job.name,
        type=job.type,
        queue=job.queue or DEFAULT_QUEUE,
        config=job.config,
        command=job.command,
        steps=job.steps,
        owner=job.owner,
        tags=job.tags,
        priority=job.priority,
        expected_duration_ms=job.expected_duration_ms,
        timeout_ms=job.timeout_ms,
        retries=job.retries,
        after=after,
        dedup_key=dedup_key,
        retry_of=job.id,
        parent_id=job.parent_id,
    )


def _standing(tx: Transaction, upstream: str, id_now: dict[str, str]) -> str | None:
    """The job that a retried one has to wait for instead of ``upstream``; none when that has failed for good."""
    one = id_now.get(upstream, upstream)
    job = tx.job(one)
    return one if job is not None and job.status not in (Status.FAILED, Status.CANCELLED) else None


def _known(tx: Transaction, job: Submission) -> Job | None:
    known = tx.job(job.id)
    if known is None and job.dedup_key is not None and (live := tx.queue.live_of(job.dedup_key)) is not None:
        known = tx.job(live)
    return known


def enqueue(tx: Transaction, plan: Plan, by: str | None, now: int) -> Job:
    """Queue a job within a transaction. Invalid when it is to wait for a job that is not there."""
    given = plan.job
    upstream: dict[str, Status] = {}
    for number, one in enumerate(given.after):
        job = tx.job(one)
        if job is None:
            raise Invalid(f"There is no job {one[:128]!r} to wait for.", errors=(Fault(f"after[{number}]", "unknown"),))
        upstream[one] = job.status
    after = commit_verdict(tx, None, queue.queued(given, upstream, by, now), now=now)
    tx.queue.put_work(after.id, plan.spec)
    if plan.refusal is not None and not after.is_final:
        return commit_verdict(tx, after, queue.rejected(after, plan.refusal, now), now=now)
    if not after.is_final:
        tx.queue.wait_for(after.id, after.waiting_for)
    return after
