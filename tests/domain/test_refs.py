"""Entity refs: one parser, one spelling."""

from __future__ import annotations

import re

import pytest

from domain.errors import InputError
from domain.refs import EntityRef, canonical, is_user, user_id
from tests.support.processes import ROOT

ROOMS = ["app", "cli", "clients", "domain", "edge", "handlers", "services", "settings", "state", "telemetry"]
OTHERWISE_LOWERED = {
    "domain/directory.py": "what a search looks at",
    "services/users/list.py": "what is searched for",
    "domain/refs.py": "refs",
    "edge/application.py": "the scheme of a header",
    "edge/bodies.py": "a media type",
    "edge/request_log.py": "the name of a header",
    "handlers/responses.py": "codings of a body",
    "handlers/health.py": "the names of the upstreams",
    "telemetry/tracing.py": "a variable of the environment",
}


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("admins", "group:default/admins"),
        ("Team-A/Admins", "group:team-a/admins"),
        ("Group:default/Admins", "group:default/admins"),
        ("user:alice", "user:default/alice"),
        ("team/na:me", "group:team/na:me"),
    ],
)
def test_a_ref_in_the_settings_may_lack_parts(text: str, ref: str) -> None:
    """A colon after the slash belongs to the name, as in Backstage's `parseEntityRef`."""
    assert str(EntityRef.parse(text, kind="group", namespace="default")) == ref


@pytest.mark.parametrize("text", ["user:default/alice", "User:Default/Alice", "USER:team-a/a.b_c-d"])
def test_the_id_of_a_user_is_in_lower_case(text: str) -> None:
    """In whatever case a caller wrote it."""
    assert (is_user(text), user_id(text)) == (True, text.lower())


@pytest.mark.parametrize(
    "text",
    [
        "", "alice", "user:alice", "user:default/", "user:/alice", "user:default/alice/keys", "group:default/alice",
        "user:default/al ice", "user:de_fault/alice", "u\u017fer:default/alice", "user:\u212aube/alice",
        "user:default/alice\n", "user:default/\0",
    ],
)  # fmt: skip
def test_what_is_no_user(text: str) -> None:
    """Not even where a letter has an ASCII letter for its lower or upper case, as the Kelvin sign has."""
    assert not is_user(text)
    with pytest.raises(InputError, match="target must be a Backstage user entity ref like user:default/alice"):
        user_id(text, "target")


def test_letters_are_lower_cased_and_never_folded() -> None:
    """Two people whose names differ in more than case stay two."""
    assert canonical("user:default/STRASSE") != canonical("user:default/stra\u00dfe")


def test_ids_are_lower_cased_in_one_place() -> None:
    """Each other place that lower-cases a text lower-cases something else, and is known."""
    found = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"\.(lower|casefold)\(\)", path.read_text())
    }
    assert found == set(OTHERWISE_LOWERED)
