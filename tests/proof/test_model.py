"""The whole service against a small model: people, their keys and their blocks, in any order, with faults and restarts.

The model knows nothing of how the service works: it says what a caller is told, and what LiteLLM has afterwards.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from settings.model import CleanupSettings
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Org
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BASE, BOB, Clock, Service, keys_path, service_on, user_path

SOAK = "SOAK" in os.environ
PEOPLE = [f"user:default/{name}" for name in ("alice", "dave", "erin")]
ROLES = {"member": {MEMBERS}, "admin": {ADMINS}, "nobody": set[str]()}
UNTIL_A_ROLE_COUNTS, UNTIL_A_LEASE_ENDS = 61.0, 400.0
MANY = 100_000
_STAFF = 20
"""People who stay, so that one who leaves is no mass departure."""
person, caller = st.sampled_from(PEOPLE), st.sampled_from([*PEOPLE, BOB])
pick = st.integers(0, 9)
side = st.sampled_from(["owner", "owner", "admin", "other"])
"""Who comes to a key."""
FAULTS = st.sampled_from(["forgets to answer", "refuses", "fails"])


@dataclass
class Key:
    """What the model knows of a key. `blocker` is who blocked it: owner, admin or off-boarding."""

    owner: str
    alias: str | None = None
    blocker: str | None = None


class Wire(httpx.AsyncBaseTransport):
    """The way to LiteLLM, which can fail."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self.fault: str | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.fault == "refuses":
            raise httpx.ConnectError("refused", request=request)
        if self.fault == "fails":
            return httpx.Response(500, json={}, request=request)
        response = await self._inner.handle_async_request(request)
        if self.fault == "forgets to answer" and request.method != "GET":
            raise httpx.ReadError("reset", request=request)
        return response


class Whole(RuleBasedStateMachine):
    """Each rule asks the service for something, and compares its answer with the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.runner, self.folder = asyncio.Runner(), tempfile.TemporaryDirectory()
        self.clock, self.numbers, self.names = Clock(), count(1), count(1)
        secrets = count(1)
        self.litellm = LiteLLMStandIn(now=self.clock, new_id=lambda: f"secret{next(secrets):016}")
        staff = {f"user:default/staff-{number}": {MEMBERS} for number in range(_STAFF)}
        self.org = Org(users={BOB: {ADMINS}, **staff, **{ref: {MEMBERS} for ref in PEOPLE}})
        self.backstage = BackstageStandIn(now=self.clock, org=self.org)
        self.wire = Wire(self.litellm.app)
        self.roles = {BOB: "admin", **dict.fromkeys(PEOPLE, "member")}
        self.users: set[str] = set()
        self.keys: dict[str, Key] = {}
        self.missed: set[str] = set()
        self.start()

    def start(self) -> None:
        self.service: Service = service_on(
            Path(self.folder.name),
            self.clock,
            self.litellm,
            self.backstage,
            numbers=self.numbers,
            ports={"litellm": self.wire},
            cleanup=CleanupSettings(grace_period=0, max_deletions=MANY, max_removals=MANY),
            creates_per_minute=MANY,
            changes_per_minute=MANY,
            refusals_per_minute=MANY,
        )

    def ask(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        return self.runner.run(self.service.signed_in(who).request(method, path, **options))

    def run_jobs(self) -> None:
        self.runner.run(self.service.run_background_jobs())

    def may(self, who: str, owner: str) -> bool:
        return self.roles[who] == "admin" or (self.roles[who] == "member" and who == owner)

    def chosen(self, side: str, number: int) -> tuple[str, Key, str]:
        """The id of one of the keys, the key, and who comes to it."""
        key_id, key = sorted(self.keys.items())[number % len(self.keys)]
        [other, *_] = [ref for ref in PEOPLE if ref != key.owner]
        return key_id, key, {"owner": key.owner, "admin": BOB, "other": other}[side]

    def aliases(self, owner: str) -> set[str | None]:
        return {key.alias for key in self.keys.values() if key.owner == owner}

    # What people do.

    @rule(who=caller, owner=person, alias=st.sampled_from([None, "laptop", "ci"]), twice=st.booleans())
    def create_a_key(self, who: str, owner: str, alias: str | None, twice: bool) -> None:
        """Sent again, it has the same answer."""
        wanted = 201
        if not self.may(who, owner):
            wanted = 403
        elif who != owner and owner not in self.users:
            wanted = 404
        elif alias is not None and alias in self.aliases(owner):
            wanted = 409
        body = {} if alias is None else {"alias": alias}
        named = {"Idempotency-Key": f"request-{next(self.names)}"}
        response = self.ask(who, "POST", keys_path(owner), json=body, headers=named)
        assert response.status_code == wanted, response.text
        if wanted != 201:
            return
        self.users.add(owner)
        self.keys[response.json()["keyId"]] = Key(owner, alias)
        if twice:
            again = self.ask(who, "POST", keys_path(owner), json=body, headers=named)
            assert (again.status_code, again.json()) == (201, response.json())

    @precondition(lambda self: self.keys)
    @rule(side=side, number=pick)
    def rotate_a_key(self, side: str, number: int) -> None:
        key_id, key, who = self.chosen(side, number)
        if key.blocker is not None:
            return
        response = self.ask(who, "POST", f"{keys_path(key.owner, key_id)}/regenerate", json={})
        assert response.status_code == (201 if self.may(who, key.owner) else 403), response.text
        if response.status_code == 201:
            self.keys[response.json()["keyId"]] = self.keys.pop(key_id)

    @precondition(lambda self: self.keys)
    @rule(side=side, number=pick)
    def delete_a_key(self, side: str, number: int) -> None:
        key_id, key, who = self.chosen(side, number)
        response = self.ask(who, "DELETE", keys_path(key.owner, key_id))
        assert response.status_code == (204 if self.may(who, key.owner) else 403), response.text
        if response.status_code == 204:
            del self.keys[key_id]

    @precondition(lambda self: self.keys)
    @rule(side=side, number=pick, blocked=st.booleans())
    def block_or_unblock_a_key(self, side: str, number: int, blocked: bool) -> None:
        """Only an admin lifts what the owner has not done."""
        self.set_blocked(side, number, blocked=blocked)

    @precondition(lambda self: self.keys)
    @rule(one=side, other=side, number=pick)
    def block_and_unblock_a_key(self, one: str, other: str, number: int) -> None:
        self.set_blocked(one, number, blocked=True)
        self.set_blocked(other, number, blocked=False)

    def set_blocked(self, side: str, number: int, *, blocked: bool) -> None:
        key_id, key, who = self.chosen(side, number)
        if key.blocker == "off-boarding":
            return
        is_admin = self.roles[who] == "admin"
        is_allowed = self.may(who, key.owner) and (blocked or is_admin or key.blocker != "admin")
        response = self.ask(who, "PATCH", keys_path(key.owner, key_id), json={"blocked": blocked})
        assert response.status_code == (200 if is_allowed else 403), response.text
        if is_allowed and not blocked:
            key.blocker = None
        elif is_allowed and key.blocker != "admin":
            key.blocker = "admin" if is_admin else "owner"

    @rule(who=caller, owner=person)
    def read_a_user(self, who: str, owner: str) -> None:
        """Their own first request creates them."""
        wanted = 200 if self.may(who, owner) else 403
        if wanted == 200 and who != owner and owner not in self.users:
            wanted = 404
        response = self.ask(who, "GET", user_path(owner))
        assert response.status_code == wanted, response.text
        if wanted == 200:
            self.users.add(owner)

    @rule(who=caller, owner=person)
    def read_the_keys(self, who: str, owner: str) -> None:
        """As the model has them."""
        response = self.ask(who, "GET", keys_path(owner))
        if not self.may(who, owner) or (who != owner and owner not in self.users):
            assert response.status_code in (403, 404)
            return
        self.users.add(owner)
        found = {row["token"]: (row["key_alias"], row["blocked"] is True) for row in response.json()["keys"]}
        theirs = {key_id: key for key_id, key in self.keys.items() if key.owner == owner}
        assert found == {key_id: (key.alias, key.blocker is not None) for key_id, key in theirs.items()}

    @rule(who=caller, owner=person)
    def remove_a_user(self, who: str, owner: str) -> None:
        """At once, with all keys."""
        wanted = 403 if self.roles[who] != "admin" else 200 if owner in self.users else 404
        response = self.ask(who, "DELETE", user_path(owner))
        assert response.status_code == wanted, response.text
        if wanted == 200:
            self.forget(owner)

    def forget(self, owner: str) -> None:
        self.users.discard(owner)
        self.missed.discard(owner)
        self.keys = {key_id: key for key_id, key in self.keys.items() if key.owner != owner}

    # What happens around them.

    @rule(who=person, role=st.sampled_from(list(ROLES)))
    def change_a_role(self, who: str, role: str) -> None:
        """It counts a minute later."""
        self.org.users[who] = set(ROLES[role])
        self.roles[who] = role
        self.clock.advance(UNTIL_A_ROLE_COUNTS)

    @rule()
    def clean_up(self) -> None:
        """Leavers lose their keys at once and are deleted by the next run; who is back has their keys as they were."""
        self.clock.advance(UNTIL_A_ROLE_COUNTS)
        report = self.ask(BOB, "POST", f"{BASE}/cleanup", json={"dryRun": False}).json()
        for _ in range(MANY):
            if report.get("outcome", "running") != "running":
                break
            report = self.ask(BOB, "GET", f"{BASE}/cleanup/runs/{report['runId']}").json()
        assert (report["outcome"], report["done"]["failed"]) == ("done", []), report
        for owner in sorted(self.users - {BOB}):
            if self.roles[owner] == "nobody" and owner in self.missed:
                self.forget(owner)
            elif self.roles[owner] == "nobody":
                self.missed.add(owner)
                self.set_blocker(owner, None, "off-boarding")
            else:
                self.missed.discard(owner)
                self.set_blocker(owner, "off-boarding", None)

    @precondition(lambda self: self.keys)
    @rule(number=pick, runs=st.integers(1, 2))
    def an_absence(self, number: int, runs: int) -> None:
        """Somebody with a key is missed by one run, or by two, and comes back."""
        _, _, who = self.chosen("owner", number)
        self.change_a_role(who, "nobody")
        for _ in range(runs):
            self.clean_up()
        self.change_a_role(who, "member")
        self.clean_up()

    def set_blocker(self, owner: str, before: str | None, after: str | None) -> None:
        for key in self.keys.values():
            if key.owner == owner and key.blocker == before:
                key.blocker = after

    @rule()
    def restart(self) -> None:
        self.runner.run(self.service.aclose())
        self.start()

    @rule(seconds=st.sampled_from([1.0, 61.0, 3600.0, 86400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run_jobs()

    @rule(fault=FAULTS, owner=person)
    def a_creation_meets_a_fault(self, fault: str, owner: str) -> None:
        """Nobody has its key, so there is none."""
        if self.roles[owner] == "nobody":
            self.change_a_role(owner, "member")
        self.meets_a_fault(fault, owner, ("POST", keys_path(owner), {"json": {}}))

    @precondition(lambda self: self.keys)
    @rule(fault=FAULTS, number=pick, change=st.sampled_from(["rotate", "delete", "block"]))
    def a_change_meets_a_fault(self, fault: str, number: int, change: str) -> None:
        """It has happened or it has not; a rotation has not, since nobody has the new key."""
        key_id, key, owner = self.chosen("owner", number)
        if self.roles[owner] == "nobody" or key.blocker is not None:
            return
        path = keys_path(owner, key_id)
        asked: dict[str, tuple[str, str, dict[str, Any]]] = {
            "rotate": ("POST", f"{path}/regenerate", {"json": {}}),
            "delete": ("DELETE", path, {}),
            "block": ("PATCH", path, {"json": {"blocked": True}}),
        }
        self.meets_a_fault(fault, owner, asked[change])
        if change == "delete" and key_id not in self.litellm.rows.keys:
            del self.keys[key_id]
        if change == "block" and self.litellm.rows.keys[key_id]["blocked"] is True:
            key.blocker = "admin" if self.roles[owner] == "admin" else "owner"

    def meets_a_fault(self, fault: str, owner: str, asked: tuple[str, str, dict[str, Any]]) -> None:
        """The owner is told that LiteLLM failed; then it works again, and the background jobs run."""
        method, path, options = asked
        self.wire.fault = fault
        response = self.ask(owner, method, path, **options)
        self.wire.fault = None
        assert response.status_code in (502, 503, 504), response.text
        for _ in range(2):
            self.clock.advance(UNTIL_A_LEASE_ENDS)
            self.run_jobs()
        if owner in self.litellm.rows.users:
            self.users.add(owner)

    # What always holds.

    @invariant()
    def litellm_has_what_the_model_has(self) -> None:
        """Users, keys, owners, and which are blocked: nothing is lost, and no key that nobody received is left."""
        rows = self.litellm.rows
        assert rows.users.keys() - {BOB} == self.users - {BOB}
        found = {key_id: (row["user_id"], row["blocked"] is True) for key_id, row in rows.keys.items()}
        assert found == {key_id: (key.owner, key.blocker is not None) for key_id, key in self.keys.items()}

    def teardown(self) -> None:
        self.clock.advance(UNTIL_A_LEASE_ENDS)
        self.run_jobs()
        events = self.ask(BOB, "GET", f"{BASE}/audit", params={"limit": 100}).json()["events"]
        assert [event for event in events if event["outcome"] is None] == []
        self.runner.run(self.service.aclose())
        self.runner.close()
        self.folder.cleanup()


Whole.TestCase.settings = settings(
    max_examples=200 if SOAK else 30,
    stateful_step_count=50 if SOAK else 30,
    derandomize=not SOAK,
    deadline=None,
    database=None,
    # A step may be a whole run of the cleanup.
    suppress_health_check=[HealthCheck.too_slow],
)
TestTheWhole = Whole.TestCase
