"""What became of the keys of a user: which replaced which, and what they are called, also after they are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from domain.actions import Action, AuditEvent, Outcome
from domain.keys import Key, KeyVersion


@dataclass(frozen=True, slots=True)
class Lineage:
    """Keys by hash. `successors` are the keys that replaced them, `aliases` what their owner called them last.

    `versions` says which versions of which keys they are; `created` and `ended` have the events that made and deleted
    them, as far as the audit log has them. `sources` says what short keys were made for, and `devices`, by these, what
    is known of signed-in devices: `device` and `tool` are their own words, `person` has signed them in.
    """

    successors: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str | None] = field(default_factory=dict)
    versions: dict[str, KeyVersion] = field(default_factory=dict)
    created: dict[str, AuditEvent] = field(default_factory=dict)
    ended: dict[str, AuditEvent] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Mapping[str, str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Iterable[Key], events: Iterable[AuditEvent] = ()) -> Lineage:
        """From the keys that exist, and from what the audit log knows about those that do not, oldest event first."""
        lineage = cls()
        for event in events:
            lineage._add(event)
        for key in keys:
            lineage.aliases[key.id] = key.alias
            lineage.versions[key.id] = key.key_version
            if key.source is not None:
                lineage.sources[key.id] = key.source
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

    def alias(self, source: str) -> str | None:
        """The words of a device."""
        device = self.devices.get(source, {})
        return " ".join(filter(None, (device.get("device"), device.get("tool")))) or None

    def version(self, key_id: str) -> KeyVersion:
        """Which version of which key it is. What neither LiteLLM nor the log has is the first version of its own."""
        return self.versions.get(key_id) or KeyVersion.derived(key_id, None)

    def numbered(self, stable_id: str) -> dict[int, str]:
        """The known versions of a key by their numbers, the newest first."""
        found = {version.number: key_id for key_id, version in self.versions.items() if version.stable_id == stable_id}
        predecessors = {successor: key_id for key_id, successor in self.successors.items()}
        # An earlier release wrote no versions: of two rotations, the first made a key with an id of its own.
        while found and (oldest := min(found)) > 1 and (before := predecessors.get(found[oldest])) is not None:
            found[oldest - 1] = before
        return dict(sorted(found.items(), reverse=True))

    def _add(self, event: AuditEvent) -> None:
        requested, before, after = event.requested or {}, event.before or {}, event.after or {}
        self._end(event)
        if event.key_id is None or event.outcome is Outcome.RECONCILED:
            return
        own = None
        if event.key_stable_id is not None and event.key_version is not None:
            own = self.versions[event.key_id] = KeyVersion(event.key_stable_id, event.key_version)
        if event.action is Action.KEY_REGENERATE and (successor := after.get("replacedBy")):
            self.successors[event.key_id] = successor
            self.aliases[successor] = requested.get("alias", self.aliases.get(event.key_id))
            made = own and KeyVersion(own.stable_id, after.get("version", own.number + 1))
            self.versions[successor] = made or KeyVersion.derived(successor, event.key_id)
            self.created[successor] = event
        elif event.action in (Action.KEY_CREATE, Action.KEY_MINT):
            self.aliases[event.key_id] = requested.get("alias")
            self.versions[event.key_id] = KeyVersion.derived(event.key_id, None)
            self.created[event.key_id] = event
        elif "alias" in requested:
            self.aliases[event.key_id] = requested.get("alias")
        elif "key_alias" in before:
            self.aliases[event.key_id] = before["key_alias"]

    def _end(self, event: AuditEvent) -> None:
        after = event.after or {}
        if event.action not in {Action.KEY_DELETE, Action.KEY_REVOKE}:
            return
        is_gone = after.get("exists") is False
        if event.outcome is Outcome.DONE:  # a revocation that found the key kept, or gone, deleted nothing
            is_gone = event.action is Action.KEY_DELETE or "deleted" not in after
        for key_id in [*after.get("deleted", ()), *([event.key_id] if is_gone and event.key_id else [])]:
            self.ended[key_id] = event
