"""Groups and components that come, go, change hands, are registered again and return, against a small model."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.owners import OwnerEntry
from domain.refs import kind_of
from domain.users import Tier
from settings.model import CleanupSettings
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Component, Org
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BASE, BOB, Clock, keys_path, service_on, user_path
from tests.support.stateful import stateful

PEOPLE = [f"user:default/{name}" for name in ("dave", "erin", "gina")]
TEAMS = ["group:default/team-a", "group:default/team-b"]
TEAMS_OF = dict(zip(PEOPLE, (TEAMS[:1], TEAMS[1:], TEAMS), strict=True))
"""Where they are at first."""
COMPONENTS = [f"component:default/{name}" for name in ("one", "two", "three", "four")]
OWNERS = [*COMPONENTS, *TEAMS]
NOBODYS = "group:default/gone"
MOST = {"component": 2, "group": 1}
"""How many owners of a kind one group may have."""
MOST_KEYS = 5
ENTRIES = (
    OwnerEntry("component", ("spec.type=service",), MOST["component"], Tier(max_budget=50.0, max_keys=MOST_KEYS)),
    OwnerEntry("group", ("spec.type=team",), MOST["group"], Tier(max_budget=200.0)),
)
MANY = 100_000
_MINUTE = 61.0
_STAFF = 20
person, caller = st.sampled_from(PEOPLE), st.sampled_from([*PEOPLE, BOB])
component, team, number = st.sampled_from(COMPONENTS), st.sampled_from(TEAMS), st.integers(0, 9)
owner_ref = st.sampled_from(OWNERS)


@dataclass
class Owner:
    """What LiteLLM has of an owner: the uid that counts, its keys, and whether the last run missed it.

    A key is blocked or not.
    """

    uid: str
    keys: dict[str, bool] = field(default_factory=dict)
    is_missed: bool = False


class Owners(RuleBasedStateMachine):
    """Each rule changes the catalog, or asks the service for something and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.runner, self.folder = asyncio.Runner(), tempfile.TemporaryDirectory()
        self.clock, self.uids, secrets = Clock(), count(1), count(1)
        self.litellm = LiteLLMStandIn(now=self.clock, new_id=lambda: f"secret{next(secrets):016}")
        staff = {f"user:default/staff-{each}": {MEMBERS} for each in range(_STAFF)}
        self.org = Org(
            users={BOB: {ADMINS}, **staff, **{ref: {MEMBERS, *teams} for ref, teams in TEAMS_OF.items()}},
            groups={ADMINS: None, MEMBERS: None, TEAMS[0]: MEMBERS, TEAMS[1]: MEMBERS},
            components={ref: Component(TEAMS[0]) for ref in COMPONENTS},
        )
        self.org.uids |= {ref: self.new_uid() for ref in OWNERS}
        self.owners: dict[str, Owner] = {}
        self.received: dict[str, str] = {}
        self.baseline = dict.fromkeys(MOST, 0)
        self.service = service_on(
            Path(self.folder.name),
            self.clock,
            self.litellm,
            BackstageStandIn(now=self.clock, org=self.org),
            numbers=count(1),
            owners=ENTRIES,
            cleanup=CleanupSettings(grace_period=0, max_deletions=MANY, max_removals=MANY),
            creates_per_minute=MANY,
            changes_per_minute=MANY,
            refusals_per_minute=MANY,
        )

    def new_uid(self) -> str:
        return f"uid-{next(self.uids)}"

    def send(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        return self.runner.run(self.service.signed_in(who).request(method, path, **options))

    # What the model knows.

    def may_have_keys(self, ref: str) -> bool:
        there = self.org.components.get(ref)
        return ref in self.org.groups or (there is not None and there.type == "service")

    def stands(self, ref: str) -> bool:
        return self.may_have_keys(ref) and self.owners[ref].uid == self.org.uids[ref]

    def holder(self, ref: str) -> str | None:
        """The group that a component or a group belongs to."""
        return self.org.groups[ref] if ref in self.org.groups else self.org.components[ref].owner

    def is_in(self, who: str, group: str) -> bool:
        """Also in a group below it. Nobody is in a group that is not there."""
        below, size = {group}, 0
        while len(below) > size:
            size = len(below)
            below |= {ref for ref, parent in self.org.groups.items() if parent in below}
        return group in self.org.groups and not below.isdisjoint(self.org.users[who])

    def would_manage(self, who: str, ref: str) -> bool:
        """Whether who asks for it may, once an admin has accepted its uid."""
        if not self.may_have_keys(ref):
            return False
        return self.is_in(who, ref if ref in self.org.groups else self.org.components[ref].owner)

    def manages(self, who: str, ref: str) -> bool:
        """Nobody manages what was registered again."""
        return self.would_manage(who, ref) and (ref not in self.owners or self.stands(ref))

    def has_room(self, ref: str) -> bool:
        """Whether the group of a new owner may have one more of its kind."""
        holder, kind = self.holder(ref), kind_of(ref)
        of_kind = [other for other in self.owners if kind_of(other) == kind and self.may_have_keys(other)]
        return holder is None or sum(self.holder(other) == holder for other in of_kind) < MOST[kind]

    def is_full(self, ref: str) -> bool:
        keys = self.owners[ref].keys if ref in self.owners else {}
        return not self.may_have_keys(ref) or (kind_of(ref) == "component" and len(keys) >= MOST_KEYS)

    def standing(self) -> dict[str, int]:
        """The owners of each kind that the catalog has unchanged."""
        return {kind: sum(kind_of(ref) == kind and self.stands(ref) for ref in self.owners) for kind in MOST}

    # What people do.

    @initialize(refs=st.sets(owner_ref))
    def begin(self, refs: set[str]) -> None:
        """Some have keys, and a run has accepted them."""
        for ref in sorted(refs):
            self.create_a_key(BOB, ref)
        self.clean_up()

    @rule(who=caller, ref=owner_ref)
    def create_a_key(self, who: str, ref: str) -> None:
        """The first one makes the owner, with the uid of that moment; an admin may exceed what a group may have."""
        is_new = ref not in self.owners
        wanted = 201 if self.manages(who, ref) else 403
        if who == BOB:
            wanted = 201 if not is_new or self.may_have_keys(ref) else 400
        is_one_too_many = is_new and who != BOB and wanted == 201 and not self.has_room(ref)
        response = self.send(who, "POST", keys_path(ref))
        refused = wanted == 201 and (is_one_too_many or self.is_full(ref))
        assert response.status_code == (409 if refused else wanted), response.text
        if response.status_code == 201:
            owner = self.owners.setdefault(ref, Owner(self.org.uids[ref]))
            owner.keys[response.json()["keyId"]] = False
            self.received[response.json()["keyId"]] = who

    @rule(who=caller, ref=owner_ref, which=number)
    def rotate_a_key(self, who: str, ref: str, which: int) -> None:
        """Whoever does it has the secret, and nobody else."""
        keys = self.owners[ref].keys if ref in self.owners else {}
        if not keys or self.owners[ref].is_missed or not self.may_have_keys(ref):
            return
        key_id = sorted(keys)[which % len(keys)]
        response = self.send(who, "POST", f"{keys_path(ref, key_id)}/regenerate", json={})
        assert response.status_code == (201 if who == BOB or self.manages(who, ref) else 403), response.text
        if response.status_code == 201:
            keys[response.json()["keyId"]] = keys.pop(key_id)
            self.received[response.json()["keyId"]] = who

    @rule(who=caller, ref=owner_ref, to=owner_ref, which=number)
    def transfer_a_key(self, who: str, ref: str, to: str, which: int) -> None:
        """By somebody who manages both, to one that stands; it stays what it is."""
        keys = self.owners[ref].keys if ref in self.owners else {}
        if ref == to or not keys or to not in self.owners:
            return
        key_id = sorted(keys)[which % len(keys)]
        allowed = who == BOB or (self.manages(who, ref) and self.manages(who, to))
        wanted = 200 if allowed else 403
        is_leaving = self.owners[ref].is_missed or self.owners[to].is_missed
        response = self.send(who, "POST", f"{keys_path(ref, key_id)}/transfer", json={"owner": to})
        assert response.status_code == (409 if allowed and (is_leaving or self.is_full(to)) else wanted), response.text
        if response.status_code == 200:
            self.owners[to].keys[key_id] = keys.pop(key_id)

    @rule(who=caller, ref=owner_ref)
    def read_the_keys(self, who: str, ref: str) -> None:
        """As the model has them."""
        wanted = 200 if ref in self.owners else 404
        response = self.send(who, "GET", keys_path(ref))
        assert response.status_code == (wanted if who == BOB or self.manages(who, ref) else 403), response.text
        if response.status_code == 200:
            assert {row["token"] for row in response.json()["keys"]} == self.owners[ref].keys.keys()

    @rule(who=person)
    def list_what_one_manages(self, who: str) -> None:
        """With a user or without; what was registered again is listed too."""
        page = self.send(who, "GET", f"{BASE}/users", params={"managedBy": "me", "limit": 100}).json()
        listed = {row["userId"] for row in (*page["users"], *page["candidates"])} - {who, MEMBERS}
        assert listed == {ref for ref in OWNERS if self.would_manage(who, ref)}

    @rule(who=caller)
    def list_what_somebody_knows(self, who: str) -> None:
        """The living keys of which they received the current secret, wherever these are now."""
        known = self.send(BOB, "GET", f"{user_path(who)}/known-secrets").json()
        living = {key_id for owner in self.owners.values() for key_id in owner.keys}
        assert {row["keyId"] for row in known["keys"]} == {key for key in living if self.received[key] == who}
        assert known["unknown"] == []

    @rule()
    def sum_up(self) -> None:
        """By entry and by group; what no entry matches is beside them."""
        sums = self.send(BOB, "GET", f"{BASE}/owners").json()
        for kind, entry in zip(MOST, sums["entries"], strict=True):
            refs = [ref for ref in self.owners if kind_of(ref) == kind and self.may_have_keys(ref)]
            groups = {row["group"]: row["figures"]["owners"] for row in entry["groups"]}
            assert entry["total"]["owners"] == len(refs)
            assert groups == Counter(holder for ref in refs if (holder := self.holder(ref)) is not None)
        assert sums["unmatched"]["owners"] == sum(not self.may_have_keys(ref) for ref in self.owners)

    @rule(ref=owner_ref)
    def accept_the_uid(self, ref: str) -> None:
        """It takes the one that the catalog has; the next run restores."""
        wanted = 404 if ref not in self.owners else 200
        response = self.send(BOB, "PATCH", user_path(ref), json={"entityUid": self.org.uids[ref]})
        assert response.status_code == (wanted if self.may_have_keys(ref) else 400), response.text
        if response.status_code == 200:
            self.owners[ref].uid = self.org.uids[ref]

    # What happens in the catalog.

    @rule(who=person, teams=st.sets(st.sampled_from(TEAMS)))
    def move(self, who: str, teams: set[str]) -> None:
        self.org.users[who] = {MEMBERS, *teams}
        self.clock.advance(_MINUTE)

    @rule(
        ref=component,
        owner=st.sampled_from([*TEAMS, NOBODYS]),
        kind=st.sampled_from(["service", "library"]),
    )
    def change_or_register(self, ref: str, owner: str, kind: str) -> None:
        """A component that was gone comes back with another uid."""
        if ref not in self.org.components:
            self.org.uids[ref] = self.new_uid()
        self.org.components[ref] = Component(owner, type=kind)
        self.clock.advance(_MINUTE)

    @rule(ref=team, parent=st.sampled_from([None, MEMBERS, *TEAMS]))
    def move_or_register_a_group(self, ref: str, parent: str | None) -> None:
        """Below another one, also below one that is not there, or in a circle. One that was gone has another uid."""
        if ref not in self.org.groups:
            self.org.uids[ref] = self.new_uid()
        self.org.groups[ref] = None if parent == ref else parent
        self.clock.advance(_MINUTE)

    @rule(ref=owner_ref)
    def unregister(self, ref: str) -> None:
        """Its members, its children and its components go on naming a group that is gone."""
        self.org.components.pop(ref, None)
        self.org.groups.pop(ref, None)
        self.clock.advance(_MINUTE)

    @rule(kinds=st.sets(st.sampled_from([*MOST]), min_size=1))
    def rebuild_the_catalog(self, kinds: set[str]) -> None:
        """All of a kind, or of both, are registered again; the next run is a refusal for each kind by itself."""
        self.org.uids |= {ref: self.new_uid() for ref in OWNERS if kind_of(ref) in kinds}
        self.clean_up()

    @rule()
    def clean_up(self) -> None:
        """Blocks, then deletes, what may have no keys; more than half of a kind only with an admin's word."""
        self.clock.advance(_MINUTE)
        standing = self.standing()
        report = self.run()
        if any(standing[kind] * 2 < self.baseline[kind] for kind in MOST):
            assert report["outcome"] == "refused", report
            plan = self.send(BOB, "POST", f"{BASE}/cleanup", json={"dryRun": True}).json()["plan"]
            self.restore()
            report = self.run(planHash=plan["hash"])
        assert (report["outcome"], report["done"]["failed"]) == ("done", []), report
        unmanaged = {
            ref
            for ref in self.owners
            if self.stands(ref) and not any(self.would_manage(who, ref) for who in self.org.users)
        }
        assert {row["userId"] for row in report["findings"] if row["kind"] == "unmanaged"} == unmanaged
        self.baseline = standing
        self.restore()
        for ref, owner in list(self.owners.items()):
            if not self.stands(ref):
                if owner.is_missed:
                    del self.owners[ref]
                else:
                    owner.is_missed, owner.keys = True, dict.fromkeys(owner.keys, True)

    def run(self, **body: Any) -> dict[str, Any]:
        started = self.send(BOB, "POST", f"{BASE}/cleanup", json={"dryRun": False} | body)
        assert started.status_code == 202, started.text
        report: dict[str, Any] = started.json()
        while report.get("outcome", "running") == "running":
            report = self.send(BOB, "GET", f"{BASE}/cleanup/runs/{report['runId']}").json()
        return report

    def restore(self) -> None:
        """What stands again has its keys as they were: nobody blocks any here but the cleanup."""
        for ref, owner in self.owners.items():
            if owner.is_missed and self.stands(ref):
                owner.is_missed, owner.keys = False, dict.fromkeys(owner.keys, False)

    # What always holds.

    @invariant()
    def litellm_has_what_the_model_has(self) -> None:
        """The owners with the uids that count, and their keys, blocked or not."""
        users = self.litellm.rows.users
        found = {
            ref: (
                row["metadata"]["litellm_orchestrator"]["uid"],
                {
                    key_id: key["blocked"] is True
                    for key_id, key in self.litellm.rows.keys.items()
                    if key["user_id"] == ref
                },
            )
            for ref, row in users.items()
            if ref in OWNERS
        }
        assert found == {ref: (owner.uid, owner.keys) for ref, owner in self.owners.items()}

    def teardown(self) -> None:
        events = self.send(BOB, "GET", f"{BASE}/audit", params={"limit": 100}).json()["events"]
        assert [event for event in events if event["outcome"] is None] == []
        self.runner.run(self.service.aclose())
        self.runner.close()
        self.folder.cleanup()


Owners.TestCase.settings = stateful(usually=30, at_length=200)
TestOwners = Owners.TestCase
