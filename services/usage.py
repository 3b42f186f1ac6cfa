"""What users spent, and what is left of their budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from clients.litellm.client import LiteLLM
from clients.litellm.usage import LiteLLMUsage
from domain.errors import InputError
from domain.identity import Principal
from domain.usage import DailyUsage, UsageFigures, UsageGroup, UsageReport
from services.users.users import Users

_DEFAULT_DAYS = 30
_MAX_DAYS = 366


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Sums LiteLLM's daily figures. Days are in UTC; `now` is in seconds since the epoch."""

    usage: LiteLLMUsage
    litellm: LiteLLM
    users: Users
    now: Callable[[], float]

    async def of(
        self,
        principal: Principal,
        user_id: str,
        *,
        first: str | None,
        last: str | None,
        group_by: str,
        split_by: str | None = None,
    ) -> UsageReport:
        """The usage by `day`, `model` or `key`; days may be split by `model` or `key`.

        Raises NotAllowedError, InputError, NotFoundError, UpstreamError.
        """
        if split_by is not None and group_by != "day":
            raise InputError("splitBy needs groupBy=day")
        until = _day(last, "to") or datetime.fromtimestamp(self.now(), UTC).date()
        since = _day(first, "from") or until - timedelta(days=_DEFAULT_DAYS - 1)
        if since > until:
            raise InputError("from must not be after to")
        if (until - since).days >= _MAX_DAYS:
            raise InputError(f"from and to must span at most {_MAX_DAYS} days")
        user = await self.users.get(principal, user_id)
        days = await self.usage.activity(user_id, since, until)
        total = sum((day.total for day in days), UsageFigures())
        return UsageReport(user, since, until, total, await self._groups(user_id, days, group_by, split_by))

    async def _groups(
        self, user_id: str, days: Sequence[DailyUsage], group_by: str, split_by: str | None
    ) -> list[UsageGroup]:
        sums = _sums(days, group_by)
        if group_by == "day":
            return [UsageGroup(day, None, sums[day], _split(days, day, split_by)) for day in sorted(sums)]
        keys = await self.litellm.list_keys(user_id) if group_by == "key" and sums else []
        aliases = {key.id: key.alias for key in keys}
        groups = [UsageGroup(group, aliases.get(group), figures) for group, figures in sums.items()]
        return sorted(groups, key=lambda row: (-row.figures.spend, row.group))


def _sums(days: Sequence[DailyUsage], group_by: str) -> dict[str, UsageFigures]:
    sums: dict[str, UsageFigures] = {}
    for group, figures in _parts(days, group_by):
        sums[group] = sums.get(group, UsageFigures()) + figures
    return sums


def _split(days: Sequence[DailyUsage], day: str, split_by: str | None) -> dict[str, UsageFigures] | None:
    return None if split_by is None else _sums([part for part in days if part.day == day], split_by)


def _parts(days: Sequence[DailyUsage], group_by: str) -> Iterator[tuple[str, UsageFigures]]:
    for day in days:
        if group_by == "day":
            yield day.day, day.total
        else:
            yield from (day.models if group_by == "model" else day.keys).items()


def _day(text: str | None, name: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{name} must be a day such as 2026-11-23") from error
