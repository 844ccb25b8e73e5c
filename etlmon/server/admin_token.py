"""``admin.token``, which this machine's own commands use, and ``worker.token`` of the embedded worker: made at the
first start so that nothing needs configuring. Their files are for their owner alone (0600).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from etlmon.core.access import Identity, Role
from etlmon.host.endpoint import write_private

if TYPE_CHECKING:
    from etlmon.server.api.routes import Context

logger = logging.getLogger(__name__)

NAME = "admin.token"
WORKER_NAME = "worker.token"
SERVER = Identity(token_id=None, name="etlmon server", role=Role.ADMIN)


async def keep_admin_token(context: Context, data_dir: Path) -> None:
    """See that the file holds a live admin token; one that was lost is revoked when its successor is made."""
    await _keep(context, data_dir / NAME, Role.ADMIN)


async def keep_worker_token(context: Context, data_dir: Path) -> Path:
    """The same for the embedded worker, which may claim and report and nothing else; its file."""
    path = data_dir / WORKER_NAME
    await _keep(context, path, Role.REPORTER)
    return path


async def _keep(context: Context, path: Path, role: Role) -> None:
    held = _read(path)
    if held is not None and context.tokens.holds(held, role):
        os.chmod(path, 0o600)
        return
    for token in await context.store.tokens():
        if token.name == path.name and token.created_by == SERVER.actor and token.revoked_at is None:
            await context.recorder.revoke_token(token.id, SERVER)
            context.tokens.drop(token.id)
    made, plain = await context.recorder.create_token(
        name=path.name, role=role, owner=None, expires_at=None, identity=SERVER
    )
    context.tokens.add(made)
    write_private(path, plain.encode() + b"\n")
    logger.info("A token for this machine was made", extra={"action": "admin_token", "file": str(path)})


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
