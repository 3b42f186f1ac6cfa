"""Who may do what, against tables that are written independently of the code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.actions import Action
from domain.errors import NotAllowedError, UpstreamFaultError
from domain.identity import Caller, GroupRefs, Permission, Principal, Role, Scope
from services.access import (
    Decision,
    authorize,
    is_background_job,
    permissions_of,
    permits,
    principal_from_token,
)
from tests.conftest import ALICE, BOB

GROUPS = GroupRefs(
    allowed=("group:default/litellm-users", "group:default/research"),
    admin=("group:default/admins", "group:default/finance"),
)
SERVES_ONESELF = {
    "users.read": "own",
    "users.create": "own",
    "keys.read": "own",
    "keys.create": "own",
    "keys.update": "own",
    "keys.rotate": "own",
    "keys.transfer": "own",
    "keys.delete": "own",
    "keys.report": "any",
    "usage.read": "own",
    "models.read": "own",
    "audit.read": "own",
    "sessions.read": "own",
    "sessions.create": "own",
    "sessions.delete": "own",
}
READS = {
    "users.read": "any",
    "keys.read": "any",
    "keys.report": "any",
    "usage.read": "any",
    "models.read": "any",
    "audit.read": "any",
    "cleanup.read": "any",
    "adoptions.read": "any",
    "workloads.read": "any",
    "sessions.read": "any",
}
MINTS = {"users.create": "own", "keys.create": "own", "keys.report": "any"}
RULES = {
    "users.update": "any",
    "users.block": "any",
    "users.delete": "any",
    "users.adopt": "any",
    "keys.unblock": "any",
    "cleanup.read": "any",
    "cleanup.run": "any",
    "adoptions.read": "any",
    "workloads.read": "any",
} | dict.fromkeys(SERVES_ONESELF, "any")
ROLES = [
    ([], {"keys.report": "any"}),
    ([Role.MEMBER], SERVES_ONESELF),
    ([Role.AUDITOR], READS),
    ([Role.MEMBER, Role.AUDITOR], SERVES_ONESELF | READS),
    ([Role.ADMIN], RULES),
    ([Role.ADMIN, Role.AUDITOR], RULES),
    ([Role.MEMBER, Role.ADMIN], RULES),
    ([Role.SYSTEM], RULES),
    ([Role.WORKLOAD], MINTS),
]
OUTSIDER = "user:default/alice is in neither the allowed group nor the admin group"
READS_ONLY = "An auditor changes nothing; this takes a member of the allowed group, or an admin"
CHECKOUT = "component:default/checkout"
MANAGERS = f"Only an admin may do this, or a member of the group {CHECKOUT} or of the one that owns it"
REFUSED = [
    # roles, permission, whose, why
    ([], "keys.read", ALICE, OUTSIDER),
    ([], "keys.read", BOB, OUTSIDER),
    ([], "cleanup.read", None, OUTSIDER),
    ([Role.MEMBER], "keys.read", BOB, "Only user:default/bob or an admin may do this"),
    ([Role.MEMBER], "audit.read", None, "Only an admin may do this"),
    ([Role.MEMBER], "users.update", ALICE, "Only an admin may do this"),
    ([Role.MEMBER], "cleanup.run", None, "Only an admin may do this"),
    ([Role.MEMBER], "users.adopt", ALICE, "Only an admin may do this"),
    ([Role.AUDITOR], "users.adopt", BOB, "Only an admin may do this"),
    ([Role.AUDITOR], "keys.create", ALICE, READS_ONLY),
    ([Role.MEMBER], "keys.read", CHECKOUT, MANAGERS),
    ([Role.AUDITOR], "keys.create", CHECKOUT, READS_ONLY),
    ([], "keys.read", CHECKOUT, OUTSIDER),
    ([Role.AUDITOR], "keys.delete", BOB, READS_ONLY),
    ([Role.AUDITOR], "users.delete", BOB, "Only an admin may do this"),
    ([Role.MEMBER, Role.AUDITOR], "keys.delete", BOB, "Only user:default/bob or an admin may do this"),
]
CHANGES = {
    "user.create": "users.create",
    "user.update": "users.update",
    "user.block": "users.block",
    "user.restore": "users.block",
    "user.delete": "users.delete",
    "user.adopt": "users.adopt",
    "key.create": "keys.create",
    "key.mint": "keys.create",
    "key.update": "keys.update",
    "key.regenerate": "keys.rotate",
    "key.revoke": "keys.delete",
    "key.transfer": "keys.transfer",
    "key.delete": "keys.delete",
    "key.report": "keys.report",
    "session.approve": "sessions.create",
    "session.refuse": "sessions.create",
    "session.end": "sessions.delete",
    "cleanup.run": "cleanup.run",
}


def alice(roles: list[Role]) -> Principal:
    return Principal(ALICE, frozenset(roles))


@pytest.mark.parametrize(
    ("roles", "permission", "scope"),
    [
        ([Role.MEMBER], Permission.KEYS_CREATE, Scope.MANAGED),
        ([Role.ADMIN], Permission.KEYS_CREATE, Scope.ANY),
        ([Role.AUDITOR], Permission.KEYS_CREATE, None),
        ([Role.MEMBER], Permission.USERS_UPDATE, None),
        ([], Permission.KEYS_READ, None),
    ],
)
def test_what_managing_an_owner_gives(roles: list[Role], permission: Permission, scope: Scope | None) -> None:
    """What a role gives for oneself, and nothing else: without a role nobody manages anything."""
    manager = replace(alice(roles), manages=frozenset({CHECKOUT}))
    assert permits(manager, permission, CHECKOUT).scope == scope


@pytest.mark.parametrize(("roles", "permissions"), ROLES)
def test_the_permissions_of_each_role(roles: list[Role], permissions: dict[str, str]) -> None:
    """Self-service for members, all that is to be read for auditors, everything for admins and background jobs."""
    assert permissions_of(alice(roles)) == permissions


@pytest.mark.parametrize(("roles", "permissions"), ROLES)
@pytest.mark.parametrize(("owner", "within"), [(ALICE, ["own", "any"]), (BOB, ["any"]), (None, ["any"])])
@pytest.mark.parametrize("permission", Permission)
def test_a_decision(
    permission: Permission, owner: str | None, within: list[str], roles: list[Role], permissions: dict[str, str]
) -> None:
    """A permission for one's own is none for another's; an admin acts for themselves as everybody does.

    Nobody, not even an admin, signs a device in as another person.
    """
    decision = permits(alice(roles), permission, owner)
    is_for_another = permission is Permission.SESSIONS_CREATE and owner == BOB
    if permissions.get(permission) in within and not is_for_another:
        assert decision == Decision(Scope.OWN if owner == ALICE else Scope.ANY)
        assert authorize(alice(roles), permission, owner) is decision.scope
    else:
        assert decision.scope is None
        with pytest.raises(NotAllowedError, match=str(decision.refusal)):
            authorize(alice(roles), permission, owner)


@pytest.mark.parametrize(("roles", "permission", "owner", "reason"), REFUSED)
def test_a_refusal_says_who_may(roles: list[Role], permission: str, owner: str | None, reason: str) -> None:
    """And a caller without a role learns what they lack."""
    refusal = permits(alice(roles), Permission(permission), owner).refusal
    assert (type(refusal), refusal and refusal.message) == (NotAllowedError, reason)


def test_a_refusal_of_which_more_is_known() -> None:
    """Where the catalog did not answer, that is the reason; what is allowed stays allowed."""
    away = UpstreamFaultError("the catalog does not answer")
    principal = Principal(ALICE, frozenset({Role.MEMBER}), refusal=away)
    assert permits(principal, Permission.CLEANUP_READ) == Decision(None, away)
    assert permits(principal, Permission.KEYS_READ, ALICE) == Decision(Scope.OWN)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("roles", [[], [Role.MEMBER], [Role.AUDITOR], [Role.ADMIN]])
@pytest.mark.parametrize("owner", [ALICE, BOB])
def test_what_a_change_needs(owner: str, roles: list[Role], action: Action) -> None:
    """Each action has its permission."""
    decision = permits(alice(roles), Permission(CHANGES[action]), owner)
    if decision.scope is None:
        with pytest.raises(NotAllowedError, match=str(decision.refusal)):
            authorize(alice(roles), action.permission, owner)
    else:
        assert authorize(alice(roles), action.permission, owner) is decision.scope


def test_only_a_background_job_is_one() -> None:
    """An admin is a caller."""
    assert [is_background_job(alice([role])) for role in (Role.MEMBER, Role.ADMIN, Role.SYSTEM)] == [False, False, True]


def test_roles_come_from_ownership() -> None:
    """The allowed group makes a member, the admin group an admin, other groups nothing."""
    caller = Caller(ALICE, frozenset({ALICE, "group:default/litellm-users", "group:default/others"}))
    assert principal_from_token(caller, GROUPS) == Principal(ALICE, frozenset({Role.MEMBER}), groups=caller.ownership)
    assert principal_from_token(Caller(BOB, frozenset({"group:default/admins"})), GROUPS).roles == {Role.ADMIN}
    assert principal_from_token(Caller(BOB, frozenset({"group:other/admins"})), GROUPS).roles == set()


@pytest.mark.parametrize(
    ("group", "roles"),
    [
        ("group:default/research", {Role.MEMBER}),
        ("group:default/finance", {Role.ADMIN}),
        ("group:default/sales", set()),
    ],
)
def test_each_configured_group_gives_its_role(group: str, roles: set[Role]) -> None:
    """Whichever of several groups a caller is in."""
    assert principal_from_token(Caller(ALICE, frozenset({group})), GROUPS).roles == roles


def test_a_service_token_has_the_role_that_it_was_given() -> None:
    """Ownership plays no part for a service token."""
    caller = Caller("service:ci", frozenset({"group:default/admins"}), service_role="member")
    assert principal_from_token(caller, GROUPS) == Principal("service:ci", frozenset({Role.MEMBER}))


def test_the_plugin_that_calls_for_somebody_is_not_forgotten() -> None:
    """The audit log names it beside the user; a service token has none."""
    caller = Caller(ALICE, frozenset({"group:default/research"}), via="plugin:tokens")
    assert principal_from_token(caller, GROUPS).via == "plugin:tokens"
