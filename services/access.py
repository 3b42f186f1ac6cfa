"""Who may do what. Every decision about authority is made here."""

from __future__ import annotations

from enum import Enum

from domain.audit import Action
from domain.errors import NotAllowedError, OrchestratorError
from domain.identity import Caller, GroupRefs, Principal, Role

_FOR_ADMINS = frozenset({Action.USER_UPDATE, Action.USER_BLOCK, Action.USER_DELETE, Action.CLEANUP_RUN})
_FOR_EVERYBODY = frozenset({Action.KEY_REPORT})


class Access(Enum):
    """The decision about a principal and the resources of a user."""

    OWN = "own"
    FOR_ANOTHER = "for another"
    NOT_A_MEMBER = "not a member"
    NOT_THEIRS = "not theirs"


def principal_from_token(caller: Caller, groups: GroupRefs) -> Principal:
    """The caller with roles: configured for a service token, by ownership for everybody else."""
    if caller.service_role is not None:
        return Principal(caller.subject, frozenset({Role(caller.service_role)}))
    roles = frozenset(role for role, refs in groups.by_role.items() if not caller.ownership.isdisjoint(refs))
    return Principal(caller.subject, roles, caller.via, caller.ownership)


def decide(principal: Principal, owner: str | None) -> Access:
    """What `principal` may do with the resources of the user `owner` (a ref in lower case)."""
    if not principal.roles:
        return Access.NOT_A_MEMBER
    if principal.subject == owner:
        return Access.OWN
    return Access.FOR_ANOTHER if principal.roles & {Role.ADMIN, Role.SYSTEM} else Access.NOT_THEIRS


def authorize_member(principal: Principal) -> None:
    """Raises NotAllowedError unless the principal is a member or an admin; or the principal's own `refusal`."""
    if not principal.roles:
        raise _refusal(principal, f"{principal.subject} is in neither the allowed group nor the admin group")


def authorize_admin(principal: Principal) -> None:
    """Raises NotAllowedError unless the principal is an admin; or the principal's own `refusal`."""
    if not principal.roles & {Role.ADMIN, Role.SYSTEM}:
        raise _refusal(principal, "Only an admin may do this")


def authorize(principal: Principal, owner: str | None) -> Access:
    """Decides like `decide`, and raises NotAllowedError or the principal's own `refusal` for a refusal."""
    authorize_member(principal)
    access = decide(principal, owner)
    if access is Access.NOT_THEIRS:
        raise _refusal(principal, f"Only {owner} or an admin may do this")
    return access


def authorize_change(principal: Principal, action: Action, owner: str | None) -> Access:
    """Decides about a change to the resources of `owner`. Raises NotAllowedError."""
    if action in _FOR_EVERYBODY:
        return decide(principal, owner)
    if action in _FOR_ADMINS:
        authorize_admin(principal)
    return authorize(principal, owner)


def _refusal(principal: Principal, message: str) -> OrchestratorError:
    return principal.refusal or NotAllowedError(message)
