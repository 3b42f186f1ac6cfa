"""Components that come, go, change hands, are registered again and return, against a small model of who has keys."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from settings.model import CleanupSettings
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Component, Org
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BASE, BOB, Clock, keys_path, service_on, user_path
from tests.support.stateful import stateful

PEOPLE = [f"user:default/{name}" for name in ("dave", "erin", "gina")]
TEAMS = ["group:default/team-a", "group:default/team-b"]
COMPONENTS = [f"component:default/{name}" for name in ("one", "two", "three", "four")]
NOBODYS = "group:default/gone"
MANY = 100_000
_MINUTE = 61.0
_STAFF = 20
person, caller = st.sampled_from(PEOPLE), st.sampled_from([*PEOPLE, BOB])
component, number = st.sampled_from(COMPONENTS), st.integers(0, 9)


@dataclass
class Owner:
    """What LiteLLM has of a component: the uid that counts, its keys, and whether the last run missed it."""

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
            users={BOB: {ADMINS}, **staff, **{ref: {MEMBERS, TEAMS[0]} for ref in PEOPLE}},
            groups={ADMINS: None, MEMBERS: None, TEAMS[0]: MEMBERS, TEAMS[1]: MEMBERS},
            components={ref: Component(TEAMS[0]) for ref in COMPONENTS},
        )
        self.org.uids |= {ref: self.new_uid() for ref in COMPONENTS}
        self.owners: dict[str, Owner] = {}
        self.baseline = 0
        self.service = service_on(
            Path(self.folder.name),
            self.clock,
            self.litellm,
            BackstageStandIn(now=self.clock, org=self.org),
            numbers=count(1),
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
        return there is not None and there.type == "service"

    def stands(self, ref: str) -> bool:
        return self.may_have_keys(ref) and self.owners[ref].uid == self.org.uids[ref]

    def manages(self, who: str, ref: str) -> bool:
        """Nobody manages what was registered again."""
        is_theirs = self.may_have_keys(ref) and self.org.components[ref].owner in self.org.users[who]
        return is_theirs and (ref not in self.owners or self.stands(ref))

    # What people do.

    @rule(who=caller, ref=component)
    def create_a_key(self, who: str, ref: str) -> None:
        """The first one makes the owner, with the uid of that moment."""
        wanted = 201 if self.manages(who, ref) else 403
        if who == BOB:
            wanted = 201 if ref in self.owners or self.may_have_keys(ref) else 400
        keys = self.owners[ref].keys if ref in self.owners else {}
        is_full = len(keys) >= 5 or not self.may_have_keys(ref)
        response = self.send(who, "POST", keys_path(ref))
        assert response.status_code == (409 if wanted == 201 and is_full else wanted), response.text
        if response.status_code == 201:
            owner = self.owners.setdefault(ref, Owner(self.org.uids[ref]))
            owner.keys[response.json()["keyId"]] = False

    @rule(who=caller, ref=component, to=component, which=number)
    def transfer_a_key(self, who: str, ref: str, to: str, which: int) -> None:
        """By somebody who manages both, to one that stands; it stays what it is."""
        keys = self.owners[ref].keys if ref in self.owners else {}
        if ref == to or not keys or to not in self.owners:
            return
        key_id = sorted(keys)[which % len(keys)]
        allowed = who == BOB or (self.manages(who, ref) and self.manages(who, to))
        wanted = 200 if allowed else 403
        is_leaving = self.owners[ref].is_missed or self.owners[to].is_missed
        is_full = len(self.owners[to].keys) >= 5 or not self.may_have_keys(to)
        response = self.send(who, "POST", f"{keys_path(ref, key_id)}/transfer", json={"owner": to})
        assert response.status_code == (409 if allowed and (is_leaving or is_full) else wanted), response.text
        if response.status_code == 200:
            self.owners[to].keys[key_id] = keys.pop(key_id)

    @rule(who=caller, ref=component)
    def read_the_keys(self, who: str, ref: str) -> None:
        """As the model has them."""
        wanted = 200 if ref in self.owners else 404
        response = self.send(who, "GET", keys_path(ref))
        assert response.status_code == (wanted if who == BOB or self.manages(who, ref) else 403), response.text
        if response.status_code == 200:
            assert {row["token"] for row in response.json()["keys"]} == self.owners[ref].keys.keys()

    @rule(ref=component)
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
        owner=st.sampled_from([*TEAMS, "group:default/gone"]),
        kind=st.sampled_from(["service", "library"]),
    )
    def change_or_register(self, ref: str, owner: str, kind: str) -> None:
        """A component that was gone comes back with another uid."""
        if ref not in self.org.components:
            self.org.uids[ref] = self.new_uid()
        self.org.components[ref] = Component(owner, type=kind)
        self.clock.advance(_MINUTE)

    @rule(ref=component)
    def unregister(self, ref: str) -> None:
        self.org.components.pop(ref, None)
        self.clock.advance(_MINUTE)

    @rule()
    def rebuild_the_catalog(self) -> None:
        for ref in self.org.components:
            self.org.uids[ref] = self.new_uid()
        self.clock.advance(_MINUTE)

    @rule()
    def clean_up(self) -> None:
        """Blocks, then deletes, what may have no keys; more than half of them only with an admin's word."""
        self.clock.advance(_MINUTE)
        standing = sum(self.stands(ref) for ref in self.owners)
        report = self.run()
        if standing * 2 < self.baseline:
            assert report["outcome"] == "refused", report
            plan = self.send(BOB, "POST", f"{BASE}/cleanup", json={"dryRun": True}).json()["plan"]
            self.restore()
            report = self.run(planHash=plan["hash"])
        assert (report["outcome"], report["done"]["failed"]) == ("done", []), report
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
            if ref in COMPONENTS
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
