"""Upkeep of tokens: one whose time has run out is honoured no more and its open sockets are closed; when each was last
presented is written down now and then.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlmon.server.auth import Tokens
    from etlmon.server.store.store import Store
    from etlmon.server.store.transaction import Transaction
    from etlmon.server.stream.hub import Hub

logger = logging.getLogger(__name__)

USE_MS = 300_000
"""Uses closer together than this are written once: nobody needs to know better, and each write is a commit."""


class TokenUpkeep:
    """Looks every five seconds; requests with an expired token are refused at once without it."""

    name = "tokens"
    interval_s = 5.0

    def __init__(self, tokens: Tokens, hub: Hub, store: Store) -> None:
        self._tokens = tokens
        self._hub = hub
        self._store = store
        self._written: dict[str, int] = {}

    async def run_once(self, now: int) -> int:
        """How many tokens ran out."""
        gone = self._tokens.expired(now)
        for token in gone:
            self._tokens.drop(token.id)
            self._hub.drop_token(token.id)
            logger.info("A token ran out", extra={"action": "token_expired", "token": token.name})
        await self._write_uses()
        return len(gone)

    async def _write_uses(self) -> None:
        used = {key: at for key, at in self._tokens.uses().items() if at - self._written.get(key, 0) >= USE_MS}
        if not used:
            return

        def op(tx: Transaction) -> None:
            for token_id, at in used.items():
                tx.use_token(token_id, at)

        await self._store.write(op)
        self._written.update(used)
