"""An organisation whose people come and go: catalog, LiteLLM and the cleanup, with injectable failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from app import Orchestrator, Ports
from clients.litellm.rows import ANNOTATIONS
from domain.actions import AuditFilters
from domain.identity import Principal, Role
from domain.offboarding import CleanupReport
from domain.refs import is_software
from services.offboarding.account import Order
from services.offboarding.cleanup import CLEANUP, Cleanup
from services.offboarding.cleanup_report import report_as_json
from settings.model import CleanupSettings
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Org
from standalone.environment import standalone_ports, standalone_settings
from standalone.litellm import LiteLLMStandIn
from state.lease import HeldLease, Lease
from state.offboardings import Offboardings
from tests.conftest import Clock, never, no_sleep
from tests.support.once import migrated_database

INTERVAL = 300.0
BOSS = Principal("user:default/boss", frozenset({Role.ADMIN}))
LEASE = 61.0
CHANGES = ("/user/delete", "/user/new", "/user/update", "/key/block", "/key/unblock", "/key/delete", "/key/update")


class Crash(BaseException):
    """The process is killed: nothing in it can clean up."""


class Wire(httpx.AsyncBaseTransport):
    """A transport to LiteLLM or Backstage that can override responses and crash before or after a request."""

    def __init__(self, app: Any) -> None:
        self._inner: httpx.AsyncBaseTransport = httpx.ASGITransport(app)
        self.answers: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.requests: list[str] = []
        self.urls: list[httpx.URL] = []
        self.crash_before: int | None = None
        self.crash_after: int | None = None
        self.crash_after_change: int | None = None

    @property
    def changes(self) -> list[str]:
        """What was asked to be changed."""
        return [path for path in self.requests if path in CHANGES]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if len(self.requests) == self.crash_before:
            raise Crash
        self.requests.append(request.url.path)
        self.urls.append(request.url)
        if answer := self.answers.get(request.url.path):
            await request.aread()
            return answer(request)
        response = await self._inner.handle_async_request(request)
        is_change = request.url.path in CHANGES
        if len(self.requests) - 1 == self.crash_after or (
            is_change and len(self.changes) - 1 == self.crash_after_change
        ):
            await response.aread()
            raise Crash
        return response


AT_ONCE = CleanupSettings(interval=INTERVAL, grace_period=0, max_deletions=1000)
"""Deletes in the run after the one that blocks, as many as there are."""


class Organisation:
    """Members `m0` … and the admin `boss`, all with a LiteLLM user and a key each.

    This service created the users, except those that join as `foreign`.
    """

    def __init__(self, folder: Path, members: int = 3, **settings: Any) -> None:
        self.clock = Clock()
        secrets = count(1)
        self.litellm = LiteLLMStandIn(now=self.clock, new_id=lambda: f"secret{next(secrets):016}")
        self.org = Org(users={}, groups={ADMINS: None, MEMBERS: None}, components={}, names={})
        self.backstage = BackstageStandIn(now=self.clock, org=self.org)
        self.to_litellm, self.to_backstage = Wire(self.litellm.app), Wire(self.backstage.app)
        self.folder = folder
        self._settings = {"cleanup": CleanupSettings(interval=INTERVAL), **settings}
        migrated_database(folder)
        self.orchestrator = self._start()
        self.join("boss", ADMINS)
        for number in range(members):
            self.join(f"m{number}")

    @property
    def ports(self) -> Ports:
        """The outside, as this organisation's service sees it."""
        usual = Ports(wall_clock=self.clock, clock=self.clock, sleep=no_sleep, pause=never)
        on_stand_ins = standalone_ports(self.litellm, self.backstage, usual)
        return replace(on_stand_ins, litellm=self.to_litellm, backstage=self.to_backstage)

    def _start(self) -> Orchestrator:
        return Orchestrator(replace(standalone_settings(str(self.folder)), **self._settings), self.ports)

    @property
    def cleanup(self) -> Cleanup:
        """The cleanup of the replica that runs now."""
        assert self.orchestrator.cleanup is not None
        return self.orchestrator.cleanup

    @property
    def offboardings(self) -> Offboardings:
        """Our own notes."""
        return self.orchestrator.foundation.offboardings

    @property
    def lease(self) -> Lease:
        """The lease that all replicas want."""
        return self.orchestrator.foundation.lease

    async def restart(self) -> None:
        """A new process on the same database, once the lease of the old one has run out."""
        await self.orchestrator.aclose()
        self.orchestrator = self._start()
        self.clock.advance(LEASE)

    @staticmethod
    def ref(name: str) -> str:
        return f"user:default/{name}"

    def join(self, name: str, group: str = MEMBERS, *, foreign: bool = False) -> str:
        """Into a group; with a LiteLLM user and a key where there are none yet."""
        ref = self.ref(name)
        self.org.users.setdefault(ref, set()).add(group)
        if ref not in self.litellm.rows.users:
            self.add_user(ref, foreign=foreign)
        return ref

    def add_user(self, ref: str, *, foreign: bool = False) -> str:
        """A LiteLLM user with a key, who is in no group."""
        uid = {"uid": self.org.uids[ref]} if is_software(ref) else {}
        metadata = {} if foreign else {ANNOTATIONS: {"tier": "userDefaults"} | uid}
        self.litellm.rows.add_user({"user_id": ref, "metadata": metadata})
        self.mint(ref)
        return ref

    def leave(self, name: str) -> str:
        """Out of every group."""
        self.org.users[self.ref(name)] = set()
        return self.ref(name)

    def mint(self, ref: str) -> str:
        """A new key's id."""
        return str(self.litellm.rows.add_key({"user_id": ref})[0]["token"])

    def keys(self, ref: str) -> dict[str, bool]:
        """Their keys, and whether each is blocked."""
        return {token: bool(row["blocked"]) for token, row in self.litellm.rows.keys.items() if row["user_id"] == ref}

    def blocked(self) -> set[str]:
        """Who has keys, all of them blocked."""
        keys = self.litellm.rows.keys.values()
        return {row["user_id"] for row in keys} - {row["user_id"] for row in keys if not row["blocked"]}

    async def run(self, plan_hash: str | None = None, by: Principal = CLEANUP) -> Any:
        """One run, an interval later."""
        self.clock.advance(INTERVAL * 1.2)
        self.to_litellm.requests.clear()
        self.to_litellm.urls.clear()
        self.to_backstage.requests.clear()
        return report_as_json(await self.run_as(await self.cleanup.take(plan_hash), plan_hash, by))

    async def run_as(self, held: HeldLease, plan_hash: str | None = None, by: Principal = CLEANUP) -> CleanupReport:
        """One run of the holder of a lease."""
        return await self.cleanup.run(held, await self.cleanup.begin("schedule", held), Order(by, plan_hash))

    async def dry_run(self) -> CleanupReport:
        """What a run would do."""
        return await self.cleanup.plan(await self.cleanup.begin(self.ref("boss"), None))

    async def recorded_changes(self) -> int:
        """The number of events in the audit log."""
        return len(await self.orchestrator.foundation.events.page(AuditFilters(), 1000))

    def everything(self) -> dict[str, Any]:
        """All that LiteLLM holds, to compare with later."""
        rows = self.litellm.rows
        return {
            "users": {name: dict(row) for name, row in rows.users.items()},
            "keys": {k: dict(v) for k, v in rows.keys.items()},
        }
