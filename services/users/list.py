"""All users, for admins: ids and order come from the directory, everything else fresh from LiteLLM."""

from __future__ import annotations

from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.directory import Sweep
from domain.identity import Permission, Principal
from domain.pages import DEFAULT_PAGE_SIZE, cursor_of, position_in
from domain.users import ListedUser, User, UserPage, UserStatus
from services.access import authorize
from services.single_flight import SingleFlight
from services.users.dates import CreationDates
from services.users.sweep import DirectorySweep
from state.directory import Directory


@dataclass(frozen=True, kw_only=True)
class ListUsers:
    """Lists the LiteLLM users that are Backstage users. The cost of a page does not depend on how many there are."""

    litellm: LiteLLM
    directory: Directory
    sweep: DirectorySweep
    first_sweep: SingleFlight[Sweep]
    dates: CreationDates

    async def __call__(
        self,
        principal: Principal,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        query: str | None = None,
        status: str | None = None,
    ) -> UserPage:
        """A page of users, sorted by id. Raises NotAllowedError, InputError, UpstreamError.

        Users who are gone by now, or have another status than the directory knows, are left out: a page may be shorter
        than `limit`, and is the last one only without a cursor.
        """
        authorize(principal, Permission.USERS_READ)
        after = position_in(cursor, str)
        wanted = None if status is None else UserStatus(status)
        size = limit or DEFAULT_PAGE_SIZE
        # Before the page: a sweep that ends meanwhile may have added users whom the page lacks.
        sweep = await self.first_sweep.run("directory", self.sweep.ensure_first)
        rows = await self.directory.page(
            after=after[0] if after else None, text=query and query.lower(), status=wanted, limit=size + 1
        )
        found = await self.litellm.read_users([user_id for user_id, _ in rows[:size]])
        users = {user.user_id: user for user in await self.dates.fill_in(found.values())}
        listed = [
            ListedUser(users[user_id], _status(users[user_id], is_leaving=is_leaving))
            for user_id, is_leaving in rows[:size]
            if user_id in users
        ]
        return UserPage(
            items=[row for row in listed if wanted in (None, row.status)],
            next_cursor=cursor_of(rows[size - 1][0]) if len(rows) > size else None,
            swept_at=sweep.swept_at,
        )


def _status(user: User, *, is_leaving: bool) -> UserStatus:
    if is_leaving:
        return UserStatus.OFFBOARDING
    return UserStatus.OVER_BUDGET if user.is_over_budget else UserStatus.ACTIVE
