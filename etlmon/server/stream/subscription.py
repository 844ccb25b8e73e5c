"""One subscription of one connection: its group and where its reader stands."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from etlmon.server.stream.groups import Group

if TYPE_CHECKING:
    from etlmon.server.stream.session import Session


class State(Enum):
    """How a subscription is served. Who moves it on is said beside each."""

    NEW = "new"
    """Not yet answered. Its session's catch-up answers it and makes it lagging."""
    LAGGING = "lagging"
    """Behind its group. The catch-up reads on from ``cursor`` and joins when it meets the head."""
    LIVE = "live"
    """A member of its group. A flush that finds the peer's buffer full makes it lagging."""
    ENDED = "ended"
    """Unsubscribed, or its connection is gone."""


class Subscription:
    """``cursor``: everything selected up to here was handed to the socket (while live: the group's ``position``).

    ``since`` is what the client asked to resume from. ``told``: ``live`` was sent.
    """

    __slots__ = ("cursor", "group", "id", "session", "since", "state", "told")

    def __init__(self, session: Session, name: str, group: Group, since: str | None) -> None:
        self.session = session
        self.id = name
        self.group = group
        self.since = since
        self.state = State.NEW
        self.cursor = group.position
        self.told = False

    def has_ended(self) -> bool:
        """Whether it was given up while something else was awaited."""
        return self.state is State.ENDED
