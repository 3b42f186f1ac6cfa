"""Who may do what: the decision, against a table that does not share a line with it."""

from __future__ import annotations

import pytest

from clients.tokens import Caller
from services.access import Access, Groups, Principal, Role, authorize, decide
from services.errors import NotAllowedError
from tests.conftest import ALICE, BOB

GROUPS = Groups(allowed="group:default/litellm-users", admin="group:default/admins")

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
    assert GROUPS.principal(caller) == Principal(ALICE, frozenset({Role.MEMBER}))
    assert GROUPS.principal(Caller(BOB, frozenset({"group:default/admins"}))).roles == {Role.ADMIN}
    assert GROUPS.principal(Caller(BOB, frozenset({"group:other/admins"}))).roles == set()


def test_a_service_token_has_the_role_that_it_was_given() -> None:
    """Ownership plays no part for a service token."""
    caller = Caller("service:ci", frozenset({"group:default/admins"}), service_role="member")
    assert GROUPS.principal(caller) == Principal("service:ci", frozenset({Role.MEMBER}))
