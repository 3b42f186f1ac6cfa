"""The users for an admin: all of them, and their budgets and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from clients.backstage.tokens import USER_REF
from clients.litellm.client import LiteLLM, no_such_user
from clients.litellm.rows import User
from domain.errors import NotFoundError, UpstreamFaultError
from domain.pages import Page, cursor_of, position_in
from services import limits as key_terms
from services.access import Principal, authorize_admin
from services.changes.audit import Action, Audit, Outcome
from services.users.models import Models
from services.users.single_flight import SingleFlight
from state.offboardings import Offboardings

_PAGE_SIZE = 50
_LISTED_SECONDS = 30.0
_ALL = "all"


class UserStatus(StrEnum):
    """Whether a user can call models."""

    ACTIVE = "active"
    OVER_BUDGET = "overBudget"
    OFFBOARDING = "offboarding"


@dataclass(frozen=True)
class ListedUser:
    """A user and whether they can call models."""

    user: User
    status: UserStatus


class UserAdministration:
    """Everybody's users. Ids are user refs in lower case."""

    def __init__(
        self,
        litellm: LiteLLM,
        models: Models,
        offboardings: Offboardings,
        audit: Audit,
        *,
        now: Callable[[], float],
    ) -> None:
        self._litellm = litellm
        self._models = models
        self._offboardings = offboardings
        self._audit = audit
        self._now = now
        self._listings: SingleFlight[list[ListedUser]] = SingleFlight()
        self._listed: tuple[float, list[ListedUser]] | None = None

    async def page(
        self,
        principal: Principal,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        query: str | None = None,
        status: str | None = None,
    ) -> Page[ListedUser]:
        """Backstage users, by id. Raises NotAllowedError, InputError, UpstreamError.

        LiteLLM's own pages repeat and miss users where others come and go: so all are read for a first page, and the
        pages after it are taken from that for half a minute.
        """
        authorize_admin(principal)
        after = position_in(cursor, str)
        listed = await self._snapshot(fresh=after is None)
        fitting = [
            row
            for row in listed
            if (after is None or row.user.user_id > after[0])
            and (status is None or row.status == status)
            and (query is None or _holds(row.user, query.lower()))
        ]
        size = limit or _PAGE_SIZE
        more = cursor_of(fitting[size - 1].user.user_id) if len(fitting) > size else None
        return Page(fitting[:size], more)

    async def update(self, principal: Principal, user_id: str, asked: Mapping[str, Any]) -> User:
        """The user, changed as `asked`, as LiteLLM then has them.

        `asked` has `max_budget`, `budget_duration`, `spend`, `models`, `tpm_limit`, `rpm_limit` as far as they were
        given. Raises NotAllowedError, InputError, NotFoundError, UpstreamError.
        """
        async with self._audit.attempt(principal, Action.USER_UPDATE, user_id) as attempt:
            authorize_admin(principal)
            await self._models.require_served(asked)
            if (before := await self._litellm.read_user(user_id)) is None:
                raise no_such_user(user_id)
            if not asked:
                return before
            await attempt.begin(before=_changeable(before), wanted=asked)
            await self._litellm.update_user(user_id, asked)
            after = await self._litellm.read_user(user_id)
            await self._require_same(before, after)
            assert after is not None
            await attempt.conclude(Outcome.DONE, after=_changeable(after))
            self._listed = None
        _require_changed(after, asked)
        return after

    async def _require_same(self, before: User, after: User | None) -> None:
        """LiteLLM creates a user that was deleted between our look and our change: that one goes again."""
        if after is None:
            raise no_such_user(before.user_id)
        if after.created_at != before.created_at:
            await self._litellm.delete_user(before.user_id)
            raise NotFoundError(f"{before.user_id} was deleted meanwhile")

    async def _snapshot(self, *, fresh: bool) -> list[ListedUser]:
        if not fresh and self._listed is not None and self._now() - self._listed[0] < _LISTED_SECONDS:
            return self._listed[1]
        return await self._listings.run(_ALL, self._read)

    async def _read(self) -> list[ListedUser]:
        started = self._now()
        leaving = await self._offboardings.all()
        users = {user.user_id: user async for user in self._litellm.users() if USER_REF.fullmatch(user.user_id)}
        listed = [
            ListedUser(users[user_id], _status(users[user_id], is_leaving=user_id in leaving))
            for user_id in sorted(users)
        ]
        self._listed = (started, listed)
        return listed


def _holds(user: User, query: str) -> bool:
    return any(query in text.lower() for text in (user.user_id, user.display_name, user.email) if text)


def _status(user: User, *, is_leaving: bool) -> UserStatus:
    if is_leaving:
        return UserStatus.OFFBOARDING
    return UserStatus.OVER_BUDGET if user.is_over_budget else UserStatus.ACTIVE


def _changeable(user: User) -> dict[str, Any]:
    row = asdict(user)
    return {name: row[name] for name in (*key_terms.LIMITS, "spend")}


def _require_changed(user: User, asked: Mapping[str, Any]) -> None:
    """LiteLLM passes over some values in silence: what was asked and is not there is its fault, and told."""
    row = _changeable(user)
    wanted = {name: tuple(value or ()) if name == "models" else value for name, value in asked.items()}
    missed = [name for name, value in wanted.items() if name != "spend" and row[name] != value]
    if missed:
        raise UpstreamFaultError(f"LiteLLM did not take {', '.join(missed)}")
