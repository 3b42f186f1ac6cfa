"""What has happened before `make run` is tried: four weeks of changes and calls, which fill the console.

Changes go through the API, on a clock in the past; calls are counted as LiteLLM counts them. So all numbers agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
from starlette.types import ASGIApp

from settings.model import Settings
from standalone.catalog import MEMBERS, Org
from standalone.litellm import LiteLLMStandIn
from standalone.litellm_usage import Row

_BASE = "/api/litellm-orchestrator"
_DAYS = 28
"""Less than the 30 days that the console shows, so that these are all there is even when a day has passed."""
_DAY_SECONDS, _HOUR_SECONDS = 86400, 3600
_BETWEEN_CHANGES_SECONDS = 61
"""Longer than the minute for which changes are counted against a rate limit."""
_WEEKEND = 5
ALICE, BOB, DAVE, ERIN, FRANK = (f"user:default/{name}" for name in ("alice", "bob", "dave", "erin.mixed", "frank"))


def demo_settings(settings: Settings) -> Settings:
    """With budgets for 90 days: one for 30 begins on the first of the month, and forgets what was spent before."""
    tier = replace(settings.litellm.user_defaults, budget_duration="90d")
    return replace(settings, litellm=replace(settings.litellm, user_defaults=tier))


class DemoClock:
    """Seconds since the epoch by `now`, `behind` seconds late."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.behind = 0.0

    def __call__(self) -> float:
        """The time."""
        return self._now() - self.behind


@dataclass(frozen=True)
class _Habit:
    """What a key is used for: USD to a model on a usual working day, from `first` to `last` days ago."""

    owner: str
    alias: str
    model: str
    spend: float
    first: int = _DAYS
    last: int = 0


_HABITS = (
    _Habit(ALICE, "laptop", "gpt-fake", 0.62),
    _Habit(ALICE, "laptop", "claude-fake", 0.87),
    _Habit(ALICE, "ci", "claude-fake", 0.48),
    _Habit(ALICE, "notebook", "gpt-fake", 0.14, 20, 8),
    _Habit(ALICE, "agent", "gpt-fake", 0.21, 15, 3),
    _Habit(BOB, "laptop-bob", "gpt-fake", 0.19),
    _Habit(DAVE, "evaluation", "claude-fake", 0.71),
    _Habit(ERIN, "bot", "gpt-fake", 0.33),
    _Habit(FRANK, "etl", "gpt-fake", 0.27, _DAYS, 5),
)


@dataclass
class Demo:
    """The four weeks, on the application `service` with its stand-ins. `clock` is that of both."""

    service: ASGIApp
    litellm: LiteLLMStandIn
    org: Org
    clock: DemoClock
    _keys: dict[str, str] = field(default_factory=dict)
    _secrets: dict[str, str] = field(default_factory=dict)

    async def play(self) -> None:
        """Ends at the present, right after a run of the cleanup. Needs a migrated database."""
        self.org.users[FRANK] = {MEMBERS}
        for ago in range(_DAYS, -1, -1):
            self.clock.behind = ago * _DAY_SECONDS + _HOUR_SECONDS
            await self._change(ago)
            for habit in _HABITS:
                if habit.last <= ago <= habit.first:
                    self._call(habit)
        self.clock.behind = _BETWEEN_CHANGES_SECONDS
        await self._off_board()
        self.clock.behind = 0

    async def _change(self, ago: int) -> None:
        """What people changed so many days ago."""
        match ago:
            case 28:
                await self._create(ALICE, "laptop", maxBudget=60)
                await self._create(ALICE, "ci", models=["claude-fake"], maxBudget=9.5, expiresIn=37 * _DAY_SECONDS)
                await self._create(BOB, "laptop-bob")
                await self._create(DAVE, "evaluation")
                await self._create(ERIN, "bot", rpmLimit=60)
                await self._create(FRANK, "etl")
                await self._as(BOB, "PATCH", _user(DAVE), {"maxBudget": 10})
            case 20:
                await self._create(ALICE, "notebook", models=["gpt-fake"], rpmLimit=60)
            case 15:
                await self._create(ALICE, "agent", maxBudget=20)
            case 7:
                await self._as(ALICE, "POST", "/keys/report", {"key": self._secrets["notebook"]})
            case 6:
                rotated = await self._as(ALICE, "POST", f"{self._key(ALICE, 'laptop')}/regenerate", {"overlap": 0})
                self._keys["laptop"] = rotated["keyId"]
            case 4:
                del self.org.users[FRANK]
                await self._off_board()
            case 2:
                await self._as(BOB, "PATCH", self._key(ALICE, "agent"), {"blocked": True})

    async def _create(self, owner: str, alias: str, **wanted: Any) -> None:
        created = await self._as(owner, "POST", f"{_user(owner)}/keys", {"alias": alias} | wanted)
        self._keys[alias], self._secrets[alias] = created["keyId"], created["keySecret"]

    def _key(self, owner: str, alias: str) -> str:
        return f"{_user(owner)}/keys/{self._keys[alias]}"

    async def _off_board(self) -> None:
        started = await self._as(BOB, "POST", "/cleanup", {"dryRun": False})
        while (await self._as(BOB, "GET", f"/cleanup/runs/{started['runId']}"))["outcome"] == "running":  # noqa: ASYNC110  # HTTP tells no end
            await asyncio.sleep(0.01)

    async def _as(self, person: str, method: str, path: str, body: Row | None = None) -> Any:
        """The answer to a person's request; changes are a minute apart. Raises httpx.HTTPStatusError."""
        if method != "GET":
            self.clock.behind -= _BETWEEN_CHANGES_SECONDS
        transport = httpx.ASGITransport(self.service)
        headers = {"Authorization": f'Bearer mock-user-token:{{"sub":"{person}"}}'}
        async with httpx.AsyncClient(base_url="http://demo", transport=transport, headers=headers) as client:
            response = await client.request(method, _BASE + path, json=body)
        return response.raise_for_status().json() if response.content else None

    def _call(self, habit: _Habit) -> None:
        """The calls of a day, unless LiteLLM refuses them. Some days have more than others, and weekends few."""
        key = self.litellm.rows.keys[self._keys[habit.alias]]
        owner = self.litellm.rows.users[habit.owner]
        if key["blocked"] or _is_spent(key) or _is_spent(owner):
            return
        today = datetime.fromtimestamp(self.clock(), UTC)
        pace = (5 + today.toordinal() * 3 % 7) / 8 * (0.15 if today.weekday() >= _WEEKEND else 1)
        self.litellm.rows.count_call(key, habit.model, round(habit.spend * pace, 4))


def _user(ref: str) -> str:
    return f"/users/{quote(ref, safe='')}"


def _is_spent(holder: Row) -> bool:
    return holder["max_budget"] is not None and bool(holder["spend"] >= holder["max_budget"])
