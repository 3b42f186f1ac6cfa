"""A cursor is the nextCursor of an earlier page; whatever else a caller sends for one is a 400, on every database."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, MakeService, keys_path
from tests.proof.conftest import Cells

Position = list[Any]
LISTS = {"users": f"{BASE}/users", "keys": keys_path(ALICE), "audit": f"{BASE}/audit"}
POSITIONS: dict[str, Position] = {
    "users": ["user:default/alice"],
    "keys": ["2027-01-15T08:00:00Z", "0" * 64],
    "audit": [1.8e9, 5],
}


def encoded(position: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def spaced(position: Position) -> str:
    return base64.urlsafe_b64encode(json.dumps(position, indent=1).encode()).decode().rstrip("=")


SPOILT: dict[str, Callable[[Position], str]] = {
    "half a surrogate pair": lambda position: encoded(["\ud800", *position[1:]]),
    "NUL": lambda position: encoded([*position[:-1], "\0"]),
    "NUL in the first": lambda position: encoded(["\0", *position[1:]]),
    "a huge integer": lambda position: encoded([*position[:-1], 2**63]),
    "a huge negative integer": lambda position: encoded([*position[:-1], -(2**70)]),
    "more digits than a parser takes": lambda position: base64.b64encode(b"[1.0, " + b"9" * 5000 + b"]").decode(),
    "a huge number": lambda position: encoded([1e300, *position[1:]]),
    "infinity": lambda position: encoded([float("inf"), *position[1:]]),
    "not a number": lambda position: encoded([float("nan"), *position[1:]]),
    "a fraction": lambda position: encoded([*position[:-1], 5.5]),
    "a number for a text, or an integer for a fraction": lambda position: encoded([5, *position[1:]]),
    "true": lambda position: encoded([*position[:-1], True]),
    "null": lambda position: encoded([*position[:-1], None]),
    "a list": lambda position: encoded([*position[:-1], []]),
    "one too many": lambda position: encoded([*position, "x"]),
    "one too few": lambda position: encoded(position[1:]),
    "an object": lambda position: encoded(dict.fromkeys(map(str, position))),
    "a text": lambda position: encoded("x"),
    "other spaces": spaced,
    "bits that are not used": lambda position: _with_other_last_bits(encoded(position)),
    "padding": lambda position: encoded(position) + "%3D",
    "deep nesting": lambda position: base64.urlsafe_b64encode(b"[" * 1500).decode(),
    "too long": lambda position: encoded(["x" * 5000, *position[1:]]),
    "nothing": lambda position: "",
}


def _with_other_last_bits(cursor: str) -> str:
    """Another text that decodes to the same bytes, if there is one; else a longer one."""
    padding = "=" * (-len(cursor) % 4)
    decoded = base64.urlsafe_b64decode(cursor + padding)
    others = [cursor[:-1] + letter for letter in string.ascii_letters + string.digits if letter != cursor[-1]]
    return next((text for text in others if base64.urlsafe_b64decode(text + padding) == decoded), cursor + "A")


@pytest.fixture
async def bob(
    database_settings: dict[str, Any], make_service: MakeService, litellm: LiteLLMStandIn
) -> httpx.AsyncClient:
    """An admin, on a service with several users, keys and events."""
    service = make_service(**database_settings)
    for _ in range(3):
        assert (await service.signed_in(ALICE).post(keys_path(ALICE))).status_code == 201
    litellm.rows.add_user({"user_id": "user:default/zoe"})
    return service.signed_in(BOB)


async def test_a_spoilt_cursor_is_refused(bob: httpx.AsyncClient, cells: Cells) -> None:
    """Of each list: what no database can store, what no list has, and another spelling of what it has."""
    for name, spoil in SPOILT.items():
        for path, position in zip(LISTS.values(), POSITIONS.values(), strict=True):
            answer = await bob.get(f"{path}?cursor={spoil(position)}")
            cells.record(
                f"{name}: {path}", [] if answer.status_code == 400 else [f"{answer.status_code} {answer.text}"]
            )
    assert cells.failed == {}


def mutated(cursor: str) -> st.SearchStrategy[str]:
    """`cursor` with some of its characters replaced, left out or repeated."""
    places = st.lists(
        st.tuples(st.integers(0, len(cursor)), st.sampled_from("AZaz09-_=+/ \0"), st.booleans()), min_size=1
    )

    def apply(edits: list[tuple[int, str, bool]]) -> str:
        text = cursor
        for place, letter, is_replaced in edits:
            text = text[:place] + letter + text[place + is_replaced :]
        return text

    return places.map(apply)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_cursor_is_our_fault(bob: httpx.AsyncClient, data: st.DataObject) -> None:
    """Any text, any JSON as we encode it, and genuine cursors that somebody changed: 400, or a page."""
    name = data.draw(st.sampled_from(sorted(LISTS)))
    genuine = (await bob.get(LISTS[name], params={"limit": 1})).json()["nextCursor"]
    cursor = data.draw(st.text() | JSON.map(encoded) | st.lists(JSON, max_size=3).map(encoded) | mutated(genuine))
    try:
        answer = await bob.get(LISTS[name], params={"cursor": cursor})
    except UnicodeEncodeError:
        return  # half of a surrogate pair: HTTP has no way to write it
    assert answer.status_code in (200, 400), answer.text
    assert (await bob.get(LISTS[name], params={"cursor": genuine})).status_code == 200
