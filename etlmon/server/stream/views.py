"""What an operator is shown of who watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.server.stream.subscription import State

if TYPE_CHECKING:
    from etlmon.server.stream.session import Session


class SubscriptionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One subscription. ``lag``: how many numbers of the journal it is behind."""

    id: str
    ch: int
    state: str
    lag: int
    filters: dict[str, Any]


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One connection. ``dropped``: numbers of the journal that retention took before it; ``since``: an instant."""

    id: str
    name: str | None
    role: str | None
    owner: str | None
    address: str | None
    since: int
    batch: bool
    state: str
    lag: int
    dropped: int
    latency_ms: float | None
    subscriptions: list[SubscriptionView]


def view_session(session: Session, head: int) -> ConnectionView:
    """The connection of a session, while all up to ``head`` is committed."""
    identity = session.identity
    subscriptions = [
        SubscriptionView(
            id=each.id,
            ch=each.group.ch,
            state=each.state.value,
            lag=max(0, head - each.cursor) if each.state is State.LAGGING else 0,
            filters=each.group.selection.describe(),
        )
        for each in session.subscriptions.values()
    ]
    return ConnectionView(
        id=session.id,
        name=identity.name if identity is not None else None,
        role=identity.role.value if identity is not None else None,
        owner=identity.owner if identity is not None else None,
        address=session.address,
        since=session.connected_at,
        batch=session.batch,
        state="lagging" if session.behind else "live",
        lag=max((each.lag for each in subscriptions), default=0),
        dropped=session.n_dropped,
        latency_ms=session.pulse.latency_ms,
        subscriptions=subscriptions,
    )
