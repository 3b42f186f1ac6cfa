"""Who may do what. The one place where that is decided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from clients.backstage.tokens import USER_REF, Caller
from domain.errors import NotAllowedError


class Role(Enum):
    """What a principal is, by their groups or their service token."""

    MEMBER = "member"
    ADMIN = "admin"


class Access(Enum):
    """The outcome of a decision about what belongs to some user."""

    OWN = "own"
    FOR_ANOTHER = "for another"
    NOT_A_MEMBER = "not a member"
    NOT_THEIRS = "not theirs"


@dataclass(frozen=True)
class Principal:
    """A signed-in caller. `subject` is a user ref in lower case, `plugin:<id>`, or a service token's subject.

    `via` is the plugin that calls on their behalf, as `plugin:<id>`. `groups` are what their token vouches for.
    """

    subject: str
    roles: frozenset[Role]
    via: str | None = None
    groups: frozenset[str] = frozenset()

    @property
    def is_user(self) -> bool:
        """Whether this is a Backstage user, and no service or plugin."""
        return USER_REF.fullmatch(self.subject) is not None


@dataclass(frozen=True)
class GroupRefs:
    """The two groups, as full refs in lower case."""

    allowed: str
    admin: str


def principal_from_token(caller: Caller, groups: GroupRefs) -> Principal:
    """The caller with their roles: a service token's is configured, anybody else's come from what they own."""
    if caller.service_role is not None:
        return Principal(caller.subject, frozenset({Role(caller.service_role)}))
    role_of = {groups.allowed: Role.MEMBER, groups.admin: Role.ADMIN}
    roles = frozenset(role for group, role in role_of.items() if group in caller.ownership)
    return Principal(caller.subject, roles, caller.via, caller.ownership)


def decide(principal: Principal, owner: str) -> Access:
    """What `principal` may do with what belongs to the user `owner` (a ref in lower case)."""
    if not principal.roles:
        return Access.NOT_A_MEMBER
    if principal.subject == owner:
        return Access.OWN
    return Access.FOR_ANOTHER if Role.ADMIN in principal.roles else Access.NOT_THEIRS


def authorize_member(principal: Principal) -> None:
    """Raise NotAllowedError for whoever is in neither group."""
    if not principal.roles:
        raise NotAllowedError(f"{principal.subject} is in neither the allowed group nor the admin group")


def authorize_admin(principal: Principal) -> None:
    """Raise NotAllowedError for everybody but admins."""
    if Role.ADMIN not in principal.roles:
        raise NotAllowedError("Only an admin may do this")


def authorize(principal: Principal, owner: str) -> Access:
    """`decide`, with the refusals raised as NotAllowedError."""
    authorize_member(principal)
    access = decide(principal, owner)
    if access is Access.NOT_THEIRS:
        raise NotAllowedError(f"Only {owner} themselves or an admin may do this")
    return access
