"""Which keys are one key of its owner, from the audit log and from annotations."""

from __future__ import annotations

from typing import Any

import pytest

from domain.actions import Action, AuditEvent, Outcome
from domain.keys import Key, KeyAnnotations, KeyVersion
from domain.lineage import Lineage


def event(action: Action, key_id: str | None, **fields: Any) -> AuditEvent:
    return AuditEvent(
        id=1, operation="o", actor="user:default/alice", action=action, started_at=0, key_id=key_id, **fields
    )


def rotated(old: str, new: str | None, **requested: Any) -> AuditEvent:
    return event(Action.KEY_REGENERATE, old, requested=requested, after={"replacedBy": new} if new else None)


def key(key_id: str, alias: str | None = None, replaces: str | None = None) -> Key:
    annotations = KeyAnnotations(alias, replaces=replaces)
    return Key(key_id, "user:default/alice", alias, "", None, False, {}, annotations, {})


@pytest.mark.parametrize(
    ("keys", "events", "expected"),
    [
        ([], [], {"a": ("a", None)}),
        ([key("b", "now", replaces="a")], [], {"a": ("b", "now"), "b": ("b", "now")}),
        ([key("c", "now", replaces="b")], [rotated("a", "b")], {"a": ("c", "now"), "b": ("c", "now")}),
        ([], [event(Action.KEY_CREATE, "a", requested={"alias": "one"}), rotated("a", "b"), rotated("b", "c")],
         {"a": ("c", "one"), "c": ("c", "one")}),
        ([], [event(Action.KEY_CREATE, "a", requested={"alias": "one"}), rotated("a", "b", alias="two")],
         {"a": ("b", "two")}),
        ([], [event(Action.KEY_CREATE, "a", requested={"alias": "one"}),
              event(Action.KEY_UPDATE, "a", requested={"alias": None}, before={"key_alias": "one"})],
         {"a": ("a", None)}),
        ([], [event(Action.KEY_CREATE, "a", requested={"alias": "one"}),
              event(Action.KEY_UPDATE, "a", requested={"maxBudget": 1})], {"a": ("a", "one")}),
        ([], [event(Action.KEY_DELETE, "a", before={"key_alias": "made elsewhere"})], {"a": ("a", "made elsewhere")}),
        ([key("a", "renamed elsewhere")], [event(Action.KEY_CREATE, "a", requested={"alias": "one"})],
         {"a": ("a", "renamed elsewhere")}),
        # Nothing here makes these; a report must end all the same.
        ([], [rotated("a", "b"), rotated("b", "a")], {"a": ("b", None), "b": ("a", None)}),
        ([key("a", "self", replaces="a")], [], {"a": ("a", "self")}),
        ([], [rotated("a", None), event(Action.KEY_CREATE, None), event(Action.KEY_DELETE, "b")], {"a": ("a", None)}),
    ],
)  # fmt: skip
def test_what_became_of_keys(
    keys: list[Key], events: list[AuditEvent], expected: dict[str, tuple[str, str | None]]
) -> None:
    """The last key, and its last alias: what exists is right, the audit log knows the rest."""
    lineage = Lineage.of(keys, events)
    found = {key_id: (last := lineage.current(key_id), lineage.aliases.get(last)) for key_id in expected}
    assert found == expected


def numbered(lineage: Lineage, stable_id: str) -> list[tuple[int, str]]:
    return list(lineage.numbered(stable_id).items())


def test_the_versions_of_a_key() -> None:
    """By LiteLLM, by what the log names, and by what replaced what where it names nothing."""
    living = Key("c", "user:default/alice", None, "", None, False, {}, KeyAnnotations(version=KeyVersion("k", 4)), {})
    named = event(Action.KEY_REGENERATE, "a", after={"replacedBy": "b", "version": 2}, key_stable_id="k", key_version=1)
    lineage = Lineage.of([living], [named])
    assert numbered(lineage, "k") == [(4, "c"), (2, "b"), (1, "a")]
    assert (lineage.created["b"], lineage.created.get("a")) == (named, None)
    unnamed = Lineage.of([], [event(Action.KEY_CREATE, "a"), rotated("a", "b"), rotated("b", "c")])
    assert numbered(unnamed, "key_b") == [(2, "c"), (1, "b")]
    assert numbered(unnamed, "key_a") == [(2, "b"), (1, "a")]
    assert numbered(unnamed, "key_x") == []


@pytest.mark.parametrize(
    ("action", "outcome", "after", "ended"),
    [
        (Action.KEY_DELETE, Outcome.DONE, None, {"a"}),
        (Action.KEY_DELETE, Outcome.DONE, {"deleted": ["b"]}, {"a", "b"}),
        (Action.KEY_DELETE, Outcome.DONE, {"kept": ["b"]}, {"a"}),
        (Action.KEY_DELETE, Outcome.RECONCILED, {"exists": False, "deleted": ["b"]}, {"a", "b"}),
        (Action.KEY_DELETE, Outcome.RECONCILED, {"exists": True, "blocked": False}, set()),
        (Action.KEY_REVOKE, Outcome.DONE, None, {"a"}),
        (Action.KEY_REVOKE, Outcome.DONE, {"deleted": []}, set()),
        (Action.KEY_REVOKE, Outcome.DONE, {"deleted": ["a"]}, {"a"}),
        (Action.KEY_REVOKE, Outcome.RECONCILED, {"exists": False, "blocked": False}, {"a"}),
        (Action.KEY_UPDATE, Outcome.RECONCILED, {"exists": False, "blocked": False}, set()),
    ],
)
def test_which_keys_an_event_ended(
    action: Action, outcome: Outcome, after: dict[str, Any] | None, ended: set[str]
) -> None:
    """Those that it deleted, and not those that it found kept."""
    assert set(Lineage.of([], [event(action, "a", outcome=outcome, after=after)]).ended) == ended
