"""Who may do what: roles and the rights that follow from them. Pure; tokens themselves live in the server."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from etlmon.core.job import Job


class Role(StrEnum):
    """What a token allows (interface.md, REST)."""

    VIEWER = "viewer"
    """Reads everything; controls the jobs that its owner owns."""
    OPERATOR = "operator"
    """Also controls every job and alert."""
    ADMIN = "admin"
    """Also settings and tokens."""
    REPORTER = "reporter"
    """Reports, and sees only what it reported."""


READERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
REPORTERS = frozenset({Role.REPORTER, Role.OPERATOR, Role.ADMIN})
EVERYONE = frozenset(Role)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who is behind a request. ``owner`` is the person or team; ``token_id`` is None only with auth switched off."""

    token_id: str | None
    name: str
    role: Role
    owner: str | None = None

    @property
    def actor(self) -> str:
        """The word that journal and audit keep."""
        return self.owner or self.name

    def sees(self, job: Job) -> bool:
        """Whether this identity may know of ``job`` at all."""
        return self.role is not Role.REPORTER or job.reporter == self.token_id

    def may_control(self, job: Job) -> bool:
        """Whether this identity may pause, resume or cancel ``job``."""
        if self.role in OPERATORS:
            return True
        return self.role is Role.VIEWER and self.owner is not None and self.owner == job.owner

    def may_report(self, job: Job) -> bool:
        """Whether this identity may report on the known ``job``."""
        return self.role in OPERATORS or (self.role is Role.REPORTER and job.reporter == self.token_id)
