"""``admin.token``: the token that this machine's own commands use, made at the first start so that nothing needs
configuring. Its file is for its owner alone (0600).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from etlmon.core.access import Identity, Role
from etlmon.host.endpoint import write_private

if TYPE_CHECKING:
    from etlmon.server.api.routes import Context

logger = logging.getLogger(__name__)

NAME = "admin.token"
SERVER = Identity(token_id=None, name="etlmon server", role=Role.ADMIN)


async def keep_admin_token(context: Context, data_dir: Path) -> None:
    """See that the file holds a live admin token; one that was lost is revoked when its successor is made."""
    path = data_dir / NAME
    held = _read(path)
    if held is not None and context.tokens.holds(held, Role.ADMIN):
        path.chmod(0o600)
        return
    for token in await context.store.tokens():
        if token.name == NAME and token.created_by == SERVER.actor and token.revoked_at is None:
            await context.recorder.revoke_token(token.id, SERVER)
            context.tokens.drop(token.id)
    made, plain = await context.recorder.create_token(
        name=NAME, role=Role.ADMIN, owner=None, expires_at=None, identity=SERVER
    )
    context.tokens.add(made)
    write_private(path, plain.encode() + b"\n")
    logger.info("An admin token for this machine was made", extra={"action": "admin_token", "file": str(path)})


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
