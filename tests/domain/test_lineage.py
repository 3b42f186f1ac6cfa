"""Which keys are one key of its owner, from the audit log and from annotations."""

from __future__ import annotations

from typing import Any

import pytest

from domain.actions import Action, AuditEvent
from domain.keys import Key, KeyAnnotations
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
