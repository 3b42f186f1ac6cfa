"""Entity refs: one parser, one spelling."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InputError
from domain.refs import EntityRef, canonical, is_software, is_user, owner_id
from tests.support.processes import ROOT

ROOMS = ["app", "cli", "clients", "domain", "edge", "handlers", "services", "settings", "state", "telemetry"]
OTHERWISE_LOWERED = {
    "domain/directory.py": "what a search looks at",
    "services/users/list.py": "what is searched for",
    "domain/refs.py": "refs",
    "settings/problems.py": "the key of a condition",
    "clients/backstage/catalog.py": "the name of a relation",
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
    assert (is_user(text), owner_id(text)) == (True, text.lower())


@pytest.mark.parametrize("text", ["group:default/Team", "Component:shop/checkout"])
def test_groups_and_components_are_owners_and_no_users(text: str) -> None:
    """Their keys are for software."""
    assert (is_user(text), is_software(text), owner_id(text)) == (False, True, text.lower())


@pytest.mark.parametrize(
    "text",
    [
        "", "alice", "user:alice", "user:default/", "user:/alice", "user:default/alice/keys", "api:default/alice",
        "user:default/al ice", "user:de_fault/alice", "u\u017fer:default/alice", "user:\u212aube/alice",
        "user:default/alice\n", "user:default/\0", "user:default/a,b", "user:default/.", "user:default/..",
        "user:default/" + "x" * 255, "user:default/a\u00a0b", "user:default/a\u2028b", "user:default/\ufeffalice",
        "user:default/a\x85b", "user:default/\ud800", "user:default/\u0378", "user:default/\U000e1000",
        "user:default/" + "\u0130" * 200,
    ],
)  # fmt: skip
def test_what_is_no_user(text: str) -> None:
    """Also where a namespace has the Kelvin sign, a name a letter that Unicode may yet give a case, or one too many."""
    assert not is_user(text)
    with pytest.raises(
        InputError, match="target must be the entity ref of a user, group or component, like user:default/alice"
    ):
        owner_id(text, "target")


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("alice@example.com", "alice@example.com"), ("Alice+Lab@example.com", "alice+lab@example.com"),
        ("\u00dcnal", "\u00fcnal"), ("\u738b\u5c0f\u660e", "\u738b\u5c0f\u660e"), ("\u212aarl", "karl"),
        ("\u0130nci", "i\u0307nci"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"), ("o'brien", "o'brien"), ("a:b", "a:b"),
        ("100%", "100%"),
        ("_", "_"), ("...", "..."), ("-dash-", "-dash-"), ("X" * 254, "x" * 254), ("\U0001f600", "\U0001f600"),
    ],
)  # fmt: skip
def test_names_are_whatever_backstage_signs(name: str, lower: str) -> None:
    """Of any script, lower-cased as Backstage's own `stringifyEntityRef` does it (compared on 0.13.1)."""
    assert owner_id(f"User:Default/{name}") == f"user:default/{lower}"


@given(name=st.text(min_size=1, max_size=12))
def test_the_spelling_of_an_id_is_final(name: str) -> None:
    """Whatever is accepted is accepted in lower case too, and does not change any more: one person is one user."""
    if is_user(f"user:default/{name}"):
        once = owner_id(f"user:default/{name}")
        assert owner_id(once) == canonical(once) == once
        assert str(EntityRef.parse(once)) == once
        assert not set("/, \t\n\x00") & set(once.removeprefix("user:default/"))


def test_every_letter_that_is_accepted_keeps_its_lower_case() -> None:
    """All of Unicode, at the beginning of a name and at its end."""
    for letter in filter(lambda letter: letter.lower() != letter, map(chr, range(0x110000))):
        for name in (f"a{letter}", f"{letter}a", letter):
            if is_user(f"user:default/{name}"):
                assert canonical(canonical(name)) == canonical(name)


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
