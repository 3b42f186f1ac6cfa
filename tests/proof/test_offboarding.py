"""The off-boarding of an organisation, with outages and crashes in any order: a state machine (hypothesis)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.errors import ConflictError
from settings.model import CleanupSettings
from standalone.catalog import ADMINS, MEMBERS
from tests.support.organisation import INTERVAL, LEASE, Crash, Organisation
from tests.support.stateful import stateful
from tests.support.user_list import listing

NAMES = [f"m{number}" for number in range(6)]
FOREIGN = {"m4", "m5"}
"""The names of those whom this service did not create; the others are its own."""
MOST_IN_A_DAY = 3
DAY = 86400.0
STRANGERS = ["svc-ci", "default_user_id", "dave@example.com"]
name = st.sampled_from(NAMES)


class ComeAndGo(RuleBasedStateMachine):
    """Members come and go, keys are made and blocked by hand, upstreams fail, processes die, time passes."""

    cleanup = CleanupSettings(interval=INTERVAL)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.organisation = Organisation(Path(self.folder.name), members=0, cleanup=self.cleanup)
        for name in NAMES:
            self.organisation.join(name, foreign=name in FOREIGN)
        self.present = set(self.organisation.litellm.rows.users)
        self.left_at: dict[str, float] = {}
        self.first_missed_at: dict[str, float] = {}
        self.deleted_at: list[float] = []
        for stranger in STRANGERS:
            self.organisation.litellm.rows.add_user({"user_id": stranger})
            self.organisation.mint(stranger)
        self.by_hand: set[str] = set()
        self.missed_runs: dict[str, int] = {}
        self.forgotten: str | None = None
        self.untouched = self.strangers()

    def strangers(self) -> dict[str, Any]:
        return {stranger: self.organisation.keys(stranger) for stranger in STRANGERS}

    @rule(name=name, group=st.sampled_from([MEMBERS, ADMINS]))
    def join(self, name: str, group: str) -> None:
        ref = self.organisation.join(name, group, foreign=name in FOREIGN)
        self.present.add(ref)
        for absences in (self.missed_runs, self.left_at, self.first_missed_at):
            absences.pop(ref, None)

    @rule(name=name)
    def leave(self, name: str) -> None:
        self.left_at.setdefault(self.organisation.leave(name), self.organisation.clock())

    @rule(name=name)
    def make_a_key(self, name: str) -> None:
        if self.organisation.ref(name) in self.organisation.litellm.rows.users:
            self.organisation.mint(self.organisation.ref(name))

    @rule(name=name, pick=st.integers(0, 9))
    def block_a_key_by_hand(self, name: str, pick: int) -> None:
        """Except keys that the cleanup has recorded as its own: LiteLLM does not say who blocked those."""
        noted = self.runner.run(self.organisation.offboardings.all())
        own = {key for row in noted.values() for key in row.blocked_keys}
        live = [
            key
            for key, blocked in self.organisation.keys(self.organisation.ref(name)).items()
            if not blocked and key not in own
        ]
        if live:
            self.by_hand.add(live[pick % len(live)])
            self.organisation.litellm.rows.update_key(live[pick % len(live)], {"blocked": True})

    @rule(status=st.sampled_from([200, 401, 500, 503]))
    def catalog_fails_or_recovers(self, status: int) -> None:
        path = "/api/catalog/entities/by-query"
        self.organisation.to_backstage.answers.pop(path, None)
        if status != 200:
            self.organisation.to_backstage.answers[path] = lambda _: httpx.Response(status)

    @rule(seconds=st.sampled_from([1, 61, 3600, 86400, 7 * 86400]))
    def time_passes(self, seconds: int) -> None:
        self.organisation.clock.advance(seconds)

    @rule(forgotten=st.one_of(st.none(), name))
    def litellm_repeats_and_forgets(self, forgotten: str | None) -> None:
        """In its lists, from now on."""
        self.forgotten = None if forgotten is None else self.organisation.ref(forgotten)

    def listed(self) -> list[dict[str, Any]]:
        rows = [row for row in self.organisation.litellm.rows.users.values() if row["user_id"] != self.forgotten]
        return [*rows, *reversed(rows)]

    @rule(number=st.integers(0, 12), where=st.sampled_from(["before", "after"]))
    def a_run_is_killed(self, number: int, where: str) -> None:
        setattr(self.organisation.to_litellm, f"crash_{where}", number)
        try:
            report = self.run_once()
        except Crash:
            self.organisation.clock.advance(LEASE)
        else:
            self.check(report)
        finally:
            setattr(self.organisation.to_litellm, f"crash_{where}", None)

    @rule()
    def a_run(self) -> None:
        self.check(self.run_once())

    @rule(name=name)
    def a_short_absence(self, name: str) -> None:
        """Missed by one run, and back before the next."""
        self.leave(name)
        self.a_run()
        self.join(name, MEMBERS)
        self.a_run()

    def run_once(self) -> Any:
        self.organisation.to_litellm.answers["/user/list"] = listing(self.listed)
        try:
            return self.runner.run(self.organisation.run())
        except ConflictError:  # a killed run's lease, which has not run out yet
            self.organisation.clock.advance(LEASE)
            return self.runner.run(self.organisation.run())

    def check(self, report: Any) -> None:
        """What holds after a run that ended by itself."""
        done = report["done"]
        if report["outcome"] == "refused":
            assert done is None or done["blocked"] == done["deleted"] == []
            return
        # One whom LiteLLM has and does not list is not deleted.
        assert {row["userId"] for row in done["failed"]} <= {self.forgotten}, report
        for ref in map(self.organisation.ref, NAMES):
            if self.organisation.org.users[ref]:
                self.missed_runs.pop(ref, None)
                blocked = {key for key, is_so in self.organisation.keys(ref).items() if is_so}
                assert blocked == self.by_hand & self.organisation.keys(ref).keys(), (
                    "given back is exactly what was taken"
                )
            elif ref != self.forgotten:
                self.first_missed_at.setdefault(ref, self.organisation.clock())
                self.missed_runs[ref] = self.missed_runs.get(ref, 0) + 1
                assert all(self.organisation.keys(ref).values()), "a leaver keeps no live key after a plausible run"
                self.check_that_they_go(ref)

    def check_that_they_go(self, ref: str) -> None:
        """Whoever may be deleted is, as far as the limit allows."""
        is_over = self.organisation.clock() - self.first_missed_at[ref] >= self.cleanup.grace_period
        if is_over and self.missed_runs[ref] >= 2 and ref.rpartition("/")[2] not in FOREIGN:
            counted = self.runner.run(self.organisation.orchestrator.foundation.deletions.recent())
            assert ref not in self.organisation.litellm.rows.users or len(counted) >= MOST_IN_A_DAY

    @invariant()
    def deleting_is_patient(self) -> None:
        """Only our own users, after their grace period, and three in any 24 hours."""
        now = self.organisation.clock()
        for ref in self.present - self.organisation.litellm.rows.users.keys():
            assert ref.rpartition("/")[2] not in FOREIGN
            assert now - self.left_at[ref] >= self.cleanup.grace_period
            self.deleted_at.append(now)
        self.present &= self.organisation.litellm.rows.users.keys()
        assert sum(at > now - DAY for at in self.deleted_at) <= MOST_IN_A_DAY

    @invariant()
    def nobody_else_is_touched(self) -> None:
        """Ids that are not Backstage users."""
        assert self.strangers() == self.untouched

    @invariant()
    def members_are_never_deleted(self) -> None:
        """Nor anybody in the admin group."""
        for ref, groups in self.organisation.org.users.items():
            assert not groups or ref in self.organisation.litellm.rows.users

    def teardown(self) -> None:
        self.runner.run(self.organisation.orchestrator.aclose())
        self.runner.close()
        self.folder.cleanup()


class ComeAndGoAtOnce(ComeAndGo):
    """The same without a grace period."""

    cleanup = CleanupSettings(interval=INTERVAL, grace_period=0)


ComeAndGo.TestCase.settings = ComeAndGoAtOnce.TestCase.settings = stateful(usually=40, at_length=500)
TestPeopleComeAndGo = ComeAndGo.TestCase
TestPeopleComeAndGoAtOnce = ComeAndGoAtOnce.TestCase
