"""Who may do what: roles as sets of permissions. Every decision about authority is made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.errors import NotAllowedError, OrchestratorError
from domain.identity import Caller, GroupRefs, Permission, Principal, Role, Scope
from domain.refs import is_user

_OWN = frozenset(
    {
        Permission.USERS_READ,
        Permission.USERS_CREATE,
        Permission.KEYS_READ,
        Permission.KEYS_CREATE,
        Permission.KEYS_UPDATE,
        Permission.KEYS_ROTATE,
        Permission.KEYS_TRANSFER,
        Permission.KEYS_DELETE,
        Permission.USAGE_READ,
        Permission.AUDIT_READ,
        Permission.MODELS_READ,
        Permission.SESSIONS_READ,
        Permission.SESSIONS_CREATE,
        Permission.SESSIONS_DELETE,
    }
)
_READING = frozenset(
    {
        Permission.USERS_READ,
        Permission.KEYS_READ,
        Permission.USAGE_READ,
        Permission.MODELS_READ,
        Permission.AUDIT_READ,
        Permission.CLEANUP_READ,
        Permission.ADOPTIONS_READ,
        Permission.WORKLOADS_READ,
        Permission.SESSIONS_READ,
    }
)
_MINTING = frozenset({Permission.USERS_CREATE, Permission.KEYS_CREATE})
_IN_PERSON = frozenset({Permission.SESSIONS_CREATE})
"""What people do for themselves and for software, and nobody for another person."""
_EVERYBODY = {Permission.KEYS_REPORT: Scope.ANY}
_EVERYTHING = dict.fromkeys(Permission, Scope.ANY)
_ROLES: Mapping[Role, Mapping[Permission, Scope]] = {
    Role.MEMBER: dict.fromkeys(_OWN, Scope.OWN),
    Role.AUDITOR: dict.fromkeys(_READING, Scope.ANY),
    Role.ADMIN: _EVERYTHING,
    Role.SYSTEM: _EVERYTHING,
    Role.WORKLOAD: dict.fromkeys(_MINTING, Scope.OWN),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether somebody may do something, and why not.

    `scope` is OWN for what belongs to the principal, whatever else they may do, MANAGED for what belongs to an owner
    that they manage, and ANY for everything else; None if `refusal` says why not. Except with ANY a principal stays
    within the tier of the owner.
    """

    scope: Scope | None
    refusal: OrchestratorError | None = None


def principal_from_token(caller: Caller, groups: GroupRefs) -> Principal:
    """The caller with roles: configured for a service token, by ownership for everybody else."""
    if caller.service_role is not None:
        return Principal(caller.subject, frozenset({Role(caller.service_role)}))
    roles = frozenset(role for role, refs in groups.by_role.items() if not caller.ownership.isdisjoint(refs))
    return Principal(caller.subject, roles, caller.via, caller.ownership)


def may_manage(principal: Principal) -> bool:
    """Whether the principal may manage groups and components: a person whose roles let them create keys."""
    return principal.is_user and _widest(principal, Permission.KEYS_CREATE) is not None


def is_background_job(principal: Principal) -> bool:
    """Whether this service acts by itself, and for no caller."""
    return Role.SYSTEM in principal.roles


def permissions_of(principal: Principal) -> dict[Permission, Scope]:
    """Every permission of the principal, in order, with the widest scope that they have it in."""
    scopes = {permission: _widest(principal, permission) for permission in Permission}
    return {permission: scope for permission, scope in scopes.items() if scope is not None}


def permits(principal: Principal, permission: Permission, owner: str | None = None) -> Decision:
    """Decides about what belongs to `owner` (a ref in lower case), or about what belongs to all where it is None.

    A refusal is a NotAllowedError that says who may, or the principal's own `refusal`.
    """
    granted = _widest(principal, permission)
    if granted is not None and permission in _IN_PERSON and not _is_in_person(principal, owner):
        return Decision(None, NotAllowedError("This is for people, and nobody does it for another person"))
    if granted is not None and owner is not None and principal.subject == owner:
        return Decision(Scope.OWN)
    if granted is Scope.ANY:
        return Decision(Scope.ANY)
    if granted is not None and owner in principal.manages:
        return Decision(Scope.MANAGED)
    if not principal.roles:
        reason = f"{principal.subject} is in neither the allowed group nor the admin group"
    elif granted is None and permission in _OWN:
        reason = "An auditor changes nothing; this takes a member of the allowed group, or an admin"
    elif granted is None or owner is None:
        reason = "Only an admin may do this"
    elif is_user(owner):
        reason = f"Only {owner} or an admin may do this"
    else:
        reason = f"Only an admin may do this, or a member of the group {owner} or of the one that owns it"
    return Decision(None, principal.refusal or NotAllowedError(reason))


def authorize(principal: Principal, permission: Permission, owner: str | None = None) -> Scope:
    """The scope in which `permits` allows it. Raises the refusal."""
    decision = permits(principal, permission, owner)
    if decision.scope is None:
        assert decision.refusal is not None
        raise decision.refusal
    return decision.scope


def _is_in_person(principal: Principal, owner: str | None) -> bool:
    return principal.is_user and (owner is None or owner == principal.subject or not is_user(owner))


def _widest(principal: Principal, permission: Permission) -> Scope | None:
    given = (_EVERYBODY, *(_ROLES[role] for role in principal.roles))
    scopes = [granted[permission] for granted in given if permission in granted]
    return max(scopes, key=tuple(Scope).index, default=None)
