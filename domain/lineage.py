"""What became of the keys of a user: which replaced which, and what they are called, also after they are gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from domain.actions import Action, AuditEvent
from domain.keys import Key


@dataclass(frozen=True, slots=True)
class Lineage:
    """Keys by id. `successors` are the keys that replaced them, `aliases` what their owner called them last."""

    successors: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Iterable[Key], events: Iterable[AuditEvent] = ()) -> Lineage:
        """From the keys that exist, and from what the audit log knows about those that do not, oldest event first."""
        lineage = cls()
        for event in events:
            lineage._add(event)
        for key in keys:
            lineage.aliases[key.id] = key.alias
            if key.annotations and key.annotations.replaces:
                lineage.successors[key.annotations.replaces] = key.id
        return lineage

    def current(self, key_id: str) -> str:
        """The last of the keys that replaced it, or itself."""
        passed = {key_id}
        while (successor := self.successors.get(key_id)) is not None and successor not in passed:
            passed.add(successor)
            key_id = successor
        return key_id

    def _add(self, event: AuditEvent) -> None:
        requested, before, after = event.requested or {}, event.before or {}, event.after or {}
        if event.key_id is None:
            return
        if event.action is Action.KEY_REGENERATE and (successor := after.get("replacedBy")):
            self.successors[event.key_id] = successor
            self.aliases[successor] = requested.get("alias", self.aliases.get(event.key_id))
        elif event.action is Action.KEY_CREATE or "alias" in requested:
            self.aliases[event.key_id] = requested.get("alias")
        elif "key_alias" in before:
            self.aliases[event.key_id] = before["key_alias"]
