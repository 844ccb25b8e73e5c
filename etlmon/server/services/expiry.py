"""Expiry: a token whose time has run out is honoured no more, and its open sockets are closed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlmon.server.auth import Tokens
    from etlmon.server.stream.hub import Hub

logger = logging.getLogger(__name__)


class Expiry:
    """Looks every five seconds; requests with such a token are refused at once without it."""

    name = "expiry"
    interval_s = 5.0

    def __init__(self, tokens: Tokens, hub: Hub) -> None:
        self._tokens = tokens
        self._hub = hub

    async def run_once(self, now: int) -> int:
        """How many tokens ran out."""
        gone = self._tokens.expired(now)
        for token in gone:
            self._tokens.drop(token.id)
            self._hub.drop_token(token.id)
            logger.info("A token ran out", extra={"action": self.name, "token": token.name})
        return len(gone)
