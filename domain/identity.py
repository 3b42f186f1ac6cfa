"""Who is calling: callers with a verified token, principals with roles, and the groups that give roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from domain import refs
from domain.errors import OrchestratorError

PLUGIN_ID = "litellm-orchestrator"
BASE_PATH = f"/api/{PLUGIN_ID}"
"""Where Backstage has a backend of this name, and the contract everything but the probes."""

ServiceRole = Literal["member", "auditor", "admin"]


class Role(StrEnum):
    """A set of permissions. `SYSTEM` is for the background jobs of this service, never for a caller.

    `WORKLOAD` is for the holder of a token that a rule accepts, within what the rule says, and for a signed-in device.
    """

    MEMBER = "member"
    AUDITOR = "auditor"
    ADMIN = "admin"
    SYSTEM = "system"
    WORKLOAD = "workload"


class Permission(StrEnum):
    """What may be done."""

    USERS_READ = "users.read"
    USERS_CREATE = "users.create"
    USERS_UPDATE = "users.update"
    USERS_BLOCK = "users.block"
    USERS_DELETE = "users.delete"
    USERS_ADOPT = "users.adopt"
    """To make the user of a ref of somebody whom LiteLLM has under another id."""
    KEYS_READ = "keys.read"
    KEYS_CREATE = "keys.create"
    KEYS_UPDATE = "keys.update"
    KEYS_UNBLOCK = "keys.unblock"
    """To lift a block that is not the owner's own."""
    KEYS_ROTATE = "keys.rotate"
    KEYS_TRANSFER = "keys.transfer"
    """To give a key another owner; it takes both."""
    KEYS_DELETE = "keys.delete"
    KEYS_REPORT = "keys.report"
    USAGE_READ = "usage.read"
    MODELS_READ = "models.read"
    AUDIT_READ = "audit.read"
    CLEANUP_READ = "cleanup.read"
    CLEANUP_RUN = "cleanup.run"
    ADOPTIONS_READ = "adoptions.read"
    WORKLOADS_READ = "workloads.read"
    SESSIONS_READ = "sessions.read"
    SESSIONS_CREATE = "sessions.create"
    """To sign a device in, in person."""
    SESSIONS_DELETE = "sessions.delete"


class Scope(StrEnum):
    """To whose things a permission extends, the narrowest first. MANAGED: of a group or component that one manages."""

    OWN = "own"
    MANAGED = "managed"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a verified token.

    `subject` is a user ref in lower case, `plugin:<id>`, or the subject of a service token. `ownership` holds the
    entity refs that Backstage vouches for, in lower case. `service_role` is set for service tokens only. `via` is the
    plugin that calls on behalf of the subject, as `plugin:<id>`.
    """

    subject: str
    ownership: frozenset[str] = frozenset()
    service_role: ServiceRole | None = None
    via: str | None = None

    @property
    def is_user(self) -> bool:
        """Whether this is a Backstage user, not a service or a plugin."""
        return refs.is_user(self.subject)


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller with roles. `subject`, `via`: as in `Caller`. `groups` are the groups that the token vouches for.

    `manages` has the owner that the request is about, if it is a group or component that the caller manages.

    `refusal` is the error for what the roles do not allow, where more is known than that: the catalog does not have the
    caller, or the roles are old and may have become more.
    """

    subject: str
    roles: frozenset[Role]
    via: str | None = None
    groups: frozenset[str] = frozenset()
    manages: frozenset[str] = frozenset()
    refusal: OrchestratorError | None = field(default=None, compare=False, repr=False)

    @property
    def is_user(self) -> bool:
        """Whether this is a Backstage user, not a service or a plugin."""
        return refs.is_user(self.subject)


@dataclass(frozen=True, slots=True)
class GroupRefs:
    """The groups whose members are members, admins and auditors of this service, as full refs in lower case."""

    allowed: tuple[str, ...]
    admin: tuple[str, ...]
    auditor: tuple[str, ...] = ()

    @property
    def by_role(self) -> dict[Role, tuple[str, ...]]:
        """The groups that give each role."""
        return {Role.MEMBER: self.allowed, Role.ADMIN: self.admin, Role.AUDITOR: self.auditor}
