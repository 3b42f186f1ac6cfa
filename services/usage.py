"""What users spent, and what is left to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from clients.litellm.client import LiteLLM
from clients.litellm.rows import User
from clients.litellm.usage import DayOfUse, Figures, LiteLLMUsage
from domain.errors import InputError
from services.access import Principal
from services.users.users import Users

_USUAL_DAYS = 30
_MOST_DAYS = 366


@dataclass(frozen=True)
class UsageGroup:
    """What was spent in one group: a day, a model, or a key (its id, and its alias while it has one)."""

    group: str
    alias: str | None
    figures: Figures


@dataclass(frozen=True)
class UsageReport:
    """What `user` spent from `first` to `last`, both included."""

    user: User
    first: date
    last: date
    total: Figures
    groups: Sequence[UsageGroup]

    @property
    def remaining(self) -> float | None:
        """USD that are left of the budget, at least 0; None where there is none."""
        return None if self.user.max_budget is None else max(0.0, self.user.max_budget - self.user.spend)


class Usage:
    """Adds up what LiteLLM counts. Days are UTC's; `now` is in seconds since the epoch."""

    def __init__(self, usage: LiteLLMUsage, litellm: LiteLLM, users: Users, *, now: Callable[[], float]) -> None:
        self._usage = usage
        self._litellm = litellm
        self._users = users
        self._now = now

    async def of(
        self, principal: Principal, user_id: str, *, first: str | None, last: str | None, group_by: str
    ) -> UsageReport:
        """By `day`, `model` or `key`. Raises NotAllowedError, InputError, NotFoundError, UpstreamError."""
        until = _day(last, "to") or datetime.fromtimestamp(self._now(), UTC).date()
        since = _day(first, "from") or until - timedelta(days=_USUAL_DAYS - 1)
        if since > until:
            raise InputError("from must not be after to")
        if (until - since).days >= _MOST_DAYS:
            raise InputError(f"from and to must be at most {_MOST_DAYS} days apart")
        user = await self._users.get(principal, user_id)
        days = await self._usage.activity(user_id, since, until)
        total = sum((day.figures for day in days), Figures())
        return UsageReport(user, since, until, total, await self._groups(user_id, days, group_by))

    async def _groups(self, user_id: str, days: Sequence[DayOfUse], group_by: str) -> list[UsageGroup]:
        sums: dict[str, Figures] = {}
        for group, figures in _parts(days, group_by):
            sums[group] = sums.get(group, Figures()) + figures
        if group_by == "day":
            return [UsageGroup(day, None, sums[day]) for day in sorted(sums)]
        keys = await self._litellm.list_keys(user_id) if group_by == "key" and sums else []
        aliases = {key.key_id: key.alias for key in keys}
        groups = [UsageGroup(group, aliases.get(group), figures) for group, figures in sums.items()]
        return sorted(groups, key=lambda row: (-row.figures.spend, row.group))


def _parts(days: Sequence[DayOfUse], group_by: str) -> Iterator[tuple[str, Figures]]:
    for day in days:
        if group_by == "day":
            yield day.day, day.figures
        else:
            yield from (day.models if group_by == "model" else day.keys).items()


def _day(text: str | None, name: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{name} must be a day such as 2026-11-23") from error
