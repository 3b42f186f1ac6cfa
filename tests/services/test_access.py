"""Who may do what, against a table that is written independently of the code."""

from __future__ import annotations

import pytest

from domain.audit import Action
from domain.errors import NotAllowedError
from domain.identity import Caller, GroupRefs, Principal, Role
from services.access import Access, authorize, authorize_admin, authorize_change, decide, principal_from_token
from tests.conftest import ALICE, BOB

GROUPS = GroupRefs(
    allowed=("group:default/litellm-users", "group:default/research"),
    admin=("group:default/admins", "group:default/finance"),
)

TABLE = [
    # roles, whose, outcome
    (set(), "own", Access.NOT_A_MEMBER),
    (set(), "another's", Access.NOT_A_MEMBER),
    ({Role.MEMBER}, "own", Access.OWN),
    ({Role.MEMBER}, "another's", Access.NOT_THEIRS),
    ({Role.ADMIN}, "own", Access.OWN),
    ({Role.ADMIN}, "another's", Access.FOR_ANOTHER),
    ({Role.MEMBER, Role.ADMIN}, "own", Access.OWN),
    ({Role.MEMBER, Role.ADMIN}, "another's", Access.FOR_ANOTHER),
]


@pytest.mark.parametrize(("roles", "whose", "outcome"), TABLE)
def test_decision(roles: set[Role], whose: str, outcome: Access) -> None:
    """Self-service for members, everything for admins, nothing for the rest."""
    owner = ALICE if whose == "own" else BOB
    assert decide(Principal(ALICE, frozenset(roles)), owner) is outcome


@pytest.mark.parametrize(("roles", "whose", "outcome"), TABLE)
def test_refusals_are_raised_and_nothing_else_is(roles: set[Role], whose: str, outcome: Access) -> None:
    """`authorize` raises exactly the refusals of `decide`."""
    owner = ALICE if whose == "own" else BOB
    principal = Principal(ALICE, frozenset(roles))
    if outcome in (Access.OWN, Access.FOR_ANOTHER):
        assert authorize(principal, owner) is outcome
    else:
        with pytest.raises(NotAllowedError):
            authorize(principal, owner)


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


@pytest.mark.parametrize(("roles", "allowed"), [(set(), False), ({Role.MEMBER}, False), ({Role.ADMIN}, True)])
def test_only_admins_pass_the_admin_check(roles: set[Role], allowed: bool) -> None:
    """Neither members nor outsiders pass it."""
    principal = Principal(ALICE, frozenset(roles))
    if allowed:
        authorize_admin(principal)
    else:
        with pytest.raises(NotAllowedError):
            authorize_admin(principal)


def test_the_plugin_that_calls_for_somebody_is_not_forgotten() -> None:
    """The audit log names it beside the user; a service token has none."""
    caller = Caller(ALICE, frozenset({"group:default/research"}), via="plugin:tokens")
    assert principal_from_token(caller, GROUPS).via == "plugin:tokens"


@pytest.mark.parametrize(("roles", "whose", "outcome"), TABLE)
def test_everybody_may_report_a_key(roles: set[Role], whose: str, outcome: Access) -> None:
    """Nobody is refused, and the decision about the owner is the same as ever."""
    owner = ALICE if whose == "own" else BOB
    assert authorize_change(Principal(ALICE, frozenset(roles)), Action.KEY_REPORT, owner) is outcome
