"""What agents were asked to do, until they obey, refuse or the time runs out."""

from __future__ import annotations

import sqlite3

import msgspec

ADD = """
INSERT INTO command (id, job_id, producer, action, reason, by, at, deadline_at, settled_at, outcome)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""A new command."""
SETTLE = "UPDATE command SET settled_at = ?, outcome = ? WHERE id = ? AND settled_at IS NULL"
"""The first outcome of a command stays."""
ADDRESS = "UPDATE command SET producer = ? WHERE job_id = ? AND settled_at IS NULL"
"""The process that works on a job has made itself known."""
_FIELDS = "SELECT id, job_id, producer, action, reason, by, at, deadline_at, settled_at, outcome FROM command"
OPEN = f"{_FIELDS} WHERE settled_at IS NULL ORDER BY at, id"
"""Every command that nobody has obeyed or refused yet, oldest first."""
OPEN_OF_PRODUCER = f"{_FIELDS} WHERE settled_at IS NULL AND producer = ? ORDER BY at, id"
"""The same of one producer."""
OF_JOB = f"{_FIELDS} WHERE job_id = ? ORDER BY at DESC, id DESC LIMIT ?"
"""The newest commands of one job."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A control on its way to an agent. ``producer`` None: nobody obeys. Open until ``settled_at``."""

    id: str
    job_id: str
    producer: str | None
    action: str
    reason: str | None
    by: str | None
    at: int
    deadline_at: int | None = None
    settled_at: int | None = None
    outcome: str | None = None


def command_of(row: tuple[object, ...]) -> Command:
    """A row of the queries above."""
    return msgspec.convert(dict(zip(Command.__struct_fields__, row, strict=True)), Command)


class OpenCommands:
    """The open commands, as the running transaction sees them, so that a batch costs no query when there are none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._open: dict[str, Command] | None = None

    def _all(self) -> dict[str, Command]:
        if self._open is None:
            self._open = {row[0]: command_of(row) for row in self._db.execute(OPEN)}
        return self._open

    def of(self, producer: str | None, job_id: str | None) -> list[Command]:
        """Those of a producer, of a job, or of both; all when neither is given."""
        return [
            command
            for command in self._all().values()
            if (producer is None or command.producer == producer) and (job_id is None or command.job_id == job_id)
        ]

    def add(self, command: Command) -> None:
        """Write a new one."""
        self._db.execute(ADD, msgspec.structs.astuple(command))
        if command.settled_at is None:
            self._all()[command.id] = command

    def holds(self, command_id: str) -> bool:
        """Whether there is such a command and it is open."""
        return command_id in self._all()

    def settle(self, command_id: str, outcome: str, at: int) -> None:
        """Write the outcome of an open command."""
        del self._all()[command_id]
        self._db.execute(SETTLE, (at, outcome, command_id))

    def address(self, job_id: str, producer: str) -> None:
        """The open commands of a job go to this producer."""
        for command in self.of(None, job_id):
            self._all()[command.id] = msgspec.structs.replace(command, producer=producer)
        self._db.execute(ADDRESS, (producer, job_id))

    def forget(self) -> None:
        """What was seen is undone: read anew when asked."""
        self._open = None
