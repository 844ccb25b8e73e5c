"""How a session that is new, resumed or slow reads on by its cursors until each meets the head and joins its group.

One loop per session that is behind; the bound is the peer's transport: the next page is read when the last was taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlmon.core.errors import Invalid
from etlmon.core.protocol import Cursor, MessageType
from etlmon.server.stream.groups import Box
from etlmon.server.stream.messages import Entry, encode, entry_of, parts
from etlmon.server.stream.subscription import State, Subscription

if TYPE_CHECKING:
    from etlmon.server.stream.session import Session

PAGE_ITEMS = 500
"""Items of the store per page."""
SCAN_ENTRIES = 1000
"""Entries of the ring looked at in one turn of the loop."""


async def catch_up(session: Session) -> None:
    """Serve every subscription that is behind, one step each in turn, until all are live."""
    while session.behind:
        for subscription in list(session.behind):
            if subscription.state is State.NEW:
                await _open(subscription)
            elif subscription.state is State.LAGGING:
                await _advance(subscription)


async def _open(subscription: Subscription) -> None:
    """Answer a new subscription: resumed from where it says, or with a snapshot."""
    hub = subscription.session.hub
    cursor, reason = _resume(subscription)
    if cursor is None:
        await _show(subscription, reason)
    else:
        await _tell_subscribed(subscription, cursor, None)
        subscription.cursor = cursor
    if subscription.state is State.NEW:
        subscription.state = State.LAGGING
    if cursor is not None:
        hub.stats.n_resumed += 1
    elif reason != "new":
        hub.stats.n_not_resumed += 1


def _resume(subscription: Subscription) -> tuple[int | None, str]:
    """Where to resume, or None and why not: all or nothing."""
    hub = subscription.session.hub
    if not subscription.since:
        return None, "new"
    try:
        since = Cursor.parse(subscription.since)
    except Invalid:
        return None, "unreadable"
    if since.epoch != hub.store.epoch:
        return None, "epoch"
    if since.seq > hub.head:
        return None, "future"
    if since.seq < hub.oldest(subscription.group.selection):
        return None, "expired"
    return since.seq, ""


async def _tell_subscribed(subscription: Subscription, position: int, reason: str | None) -> None:
    session, group = subscription.session, subscription.group
    data = {
        "id": subscription.id,
        "ch": group.ch,
        "recovered": reason is None,
        "reason": reason,
        "cursor": Cursor(session.hub.store.epoch, position).format(),
    }
    await session.say(MessageType.SUBSCRIBED, data, ch=group.ch)


async def _show(subscription: Subscription, reason: str | None) -> None:
    """Send the snapshot, before it ``subscribed`` when ``reason`` says why there is one; go on from its position."""
    session = subscription.session
    snapshot = await session.hub.snapshot(subscription.group)
    if subscription.has_ended():
        return
    if reason is not None:
        await _tell_subscribed(subscription, snapshot.position, reason)
    for part in snapshot.messages:
        await session.hand([part])
        if subscription.has_ended():
            return
    subscription.cursor = snapshot.position


async def _advance(subscription: Subscription) -> None:
    """One page further, or into the group when there is none."""
    session = subscription.session
    hub = session.hub
    if session.protocol.writing_paused or session.transport.is_closing():
        await session.drained()
    elif subscription.cursor == hub.head:
        _join(subscription)
    elif subscription.cursor > hub.head:  # the snapshot was read before the hub was told
        await hub.moved()
    else:
        found = hub.fanout.ring.after(subscription.cursor, SCAN_ENTRIES)
        if found is None:
            await _advance_from_store(subscription)
        else:
            entries, more = found
            await _deliver(subscription, entries, None if more else hub.head)


def _join(subscription: Subscription) -> None:
    """The cursor has met the head in this turn of the loop: from here on the group's frames are this reader's."""
    session, group = subscription.session, subscription.group
    hub = session.hub
    hub.fanout.flush(group)
    group.join(subscription, hub.head)
    subscription.state = State.LIVE
    session.behind.pop(subscription, None)
    hub.stats.n_joined += 1
    if not subscription.told:
        subscription.told = True
        data = {"id": subscription.id, "cursor": hub.cursor().format()}
        session.say_now(MessageType.LIVE, data, ch=group.ch)


async def _advance_from_store(subscription: Subscription) -> None:
    """One page that the ring no longer holds."""
    hub = subscription.session.hub
    selection = subscription.group.selection
    if subscription.cursor < hub.oldest(selection):
        await _tell_gap(subscription)
        return
    async with hub.reading:
        items, reached = await hub.store.items_after(
            subscription.cursor, hub.head, PAGE_ITEMS, jobs=selection.jobs or selection.logs, logs=selection.logs
        )
    if subscription.state is State.LAGGING:
        await _deliver(subscription, [entry_of(item, replayed=True) for item in items], reached)


async def _tell_gap(subscription: Subscription) -> None:
    """Retention was faster than this reader: say what it missed, then show it how things stand."""
    session, hub = subscription.session, subscription.session.hub
    epoch, start, end = hub.store.epoch, subscription.cursor, hub.oldest(subscription.group.selection)
    dropped = end - start
    session.n_dropped += dropped
    hub.stats.n_gaps += 1
    data = {"dropped": dropped, "from": Cursor(epoch, start).format(), "to": Cursor(epoch, end).format()}
    head, tail = parts(MessageType.GAP, hub.clock.now_ms(), end, encode(data))
    await session.hand([head + b"%d" % subscription.group.ch + tail])
    await _show(subscription, None)


async def _deliver(subscription: Subscription, entries: Sequence[Entry], end: int | None) -> None:
    """Send what is selected of ``entries``; with all of them the cursor is at ``end`` (None: at the last of them)."""
    box = Box()
    reached = _fill(box, subscription, entries)
    subscription.cursor = end if end is not None and not box.full else reached
    if box:
        await subscription.session.hand(box.take())
    else:
        await asyncio.sleep(0)


def _fill(box: Box, subscription: Subscription, entries: Sequence[Entry]) -> int:
    """Select from ``entries`` until ``box`` is full; how far it came."""
    reached = subscription.cursor
    for entry in entries:
        for sample_of, seq, made in subscription.group.messages(entry, subscription.cursor):
            box.add(sample_of, made)
            reached = seq
            if box.full:
                return reached
        reached = entry.last_seq
    return reached
