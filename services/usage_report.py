"""What users spent, and what is left of their budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import structlog

from clients.litellm.client import LiteLLM
from clients.litellm.daily_usage import LiteLLMUsage
from domain.errors import InputError
from domain.identity import Permission, Principal
from domain.keys import Key, is_key_id
from domain.lineage import Lineage
from domain.sessions import session_of_source
from domain.usage import NOTHING, UNATTRIBUTED, DailyUsage, UsageFigures, UsageGroup, UsageReport
from services.access import authorize
from services.users.users import Users
from state.database import DatabaseUnavailableError
from state.events import Events

log = structlog.get_logger(__name__)

_DEFAULT_DAYS = 30
_MAX_DAYS = 366
_NOISE, _RELATIVE_NOISE = 1e-9, 1e-12  # USD, and of a sum


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Sums LiteLLM's daily figures. Days are in UTC; `now` is in seconds since the epoch."""

    usage: LiteLLMUsage
    litellm: LiteLLM
    users: Users
    events: Events
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
        authorize(principal, Permission.USAGE_READ, user_id)
        user = await self.users.get(principal, user_id)
        days = await self.usage.activity(user_id, since, until)
        total = sum((day.total for day in days), NOTHING)
        return UsageReport(user, since, until, total, await self._groups(user_id, days, group_by, split_by))

    async def _groups(
        self, user_id: str, days: Sequence[DailyUsage], group_by: str, split_by: str | None
    ) -> list[UsageGroup]:
        lineage = await self._lineage(user_id, days) if "key" in (group_by, split_by) else Lineage()
        sums = _sums(days, group_by, lineage)
        if group_by == "day":
            return [UsageGroup(day, None, sums[day], _split(days, day, split_by, lineage)) for day in sorted(sums)]
        newest = _newest(days, lineage) if group_by == "key" else {}
        groups = [
            UsageGroup(
                group,
                lineage.aliases.get(newest.get(group, ""), lineage.alias(group)),
                figures,
                key_id=newest.get(group),
                user_id=lineage.devices.get(group, {}).get("person"),
            )
            for group, figures in sums.items()
        ]
        return sorted(groups, key=lambda row: (-row.figures.spend, row.group))

    async def _lineage(self, user_id: str, days: Sequence[DailyUsage]) -> Lineage:
        used = {key_id for day in days for key_id in day.keys}
        if not used:
            return Lineage()
        keys = await self.litellm.show_keys(user_id)
        try:
            return await self._with_history(user_id, keys, used)
        except DatabaseUnavailableError:
            log.warning("usage is reported without the aliases of keys that are gone", user=user_id)
            return Lineage.of(keys)

    async def _with_history(self, user_id: str, keys: Sequence[Key], used: Collection[str]) -> Lineage:
        """What is known of the user's keys, what those that are gone were made for, and by which devices."""
        gone = set(used) - {key.id for key in keys}
        lineage = Lineage.of(keys, await self.events.of_keys(user_id) if gone else ())
        lineage.sources.update(await self.events.sources_of(gone))
        sources = {lineage.sources[key_id] for key_id in used if key_id in lineage.sources}
        if devices := sorted(filter(session_of_source, sources)):
            mints = await self.events.last_mints(devices)
            lineage.devices.update({source: event.requested or {} for source, event in mints.items()})
        return lineage


def _sums(days: Sequence[DailyUsage], group_by: str, lineage: Lineage) -> dict[str, UsageFigures]:
    """The figures of each group. They add up to those of the days: the rest is UNATTRIBUTED."""
    sums: dict[str, UsageFigures] = {}
    for day in days:
        parts = _parts(day, group_by)
        rest = _rest(day.total, parts.values())
        for name, figures in [*parts.items(), *([] if rest == NOTHING else [(UNATTRIBUTED, rest)])]:
            group = _id_of(name, lineage) if group_by == "key" else name
            sums[group] = sums.get(group, NOTHING) + figures
    return sums


def _id_of(name: str, lineage: Lineage) -> str:
    """The stable id of a key, or what a short one was made for; LiteLLM has other names too, of what is no key."""
    if name in lineage.sources:
        return lineage.sources[name]
    return lineage.version(lineage.current(name)).stable_id if is_key_id(name) else name


def _newest(days: Sequence[DailyUsage], lineage: Lineage) -> dict[str, str]:
    """The newest version that is known of each key that was used, by its stable id."""
    keys = {name for day in days for name in day.keys if is_key_id(name) and name not in lineage.sources}
    used = {lineage.current(name) for name in keys}
    by_age = sorted(used, key=lambda key_id: lineage.version(key_id).number)
    return {lineage.version(key_id).stable_id: key_id for key_id in by_age}


def _rest(total: UsageFigures, parts: Iterable[UsageFigures]) -> UsageFigures:
    """What of `total` is in none of `parts`. LiteLLM adds them up in another order: what rounding makes is nothing."""
    rest = total - sum(parts, NOTHING)
    noise = max(_NOISE, total.spend * _RELATIVE_NOISE)
    return replace(rest, spend=0.0) if abs(rest.spend) <= noise else rest


def _split(
    days: Sequence[DailyUsage], day: str, split_by: str | None, lineage: Lineage
) -> dict[str, UsageFigures] | None:
    return None if split_by is None else _sums([part for part in days if part.day == day], split_by, lineage)


def _parts(day: DailyUsage, group_by: str) -> Mapping[str, UsageFigures]:
    if group_by == "day":
        return {day.day: day.total}
    return day.models if group_by == "model" else day.keys


def _day(text: str | None, name: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{name} must be a day such as 2026-11-23") from error
