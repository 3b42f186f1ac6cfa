"""Lists of users: of all, whose ids and order come from the directory, and of those whom the caller manages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.directory import Sweep, searched_text
from domain.identity import Permission, Principal
from domain.pages import DEFAULT_PAGE_SIZE, cursor_of, position_in
from domain.refs import kind_of
from domain.users import Candidate, ListedUser, User, UserFilters, UserPage, UserStatus
from services.access import authorize
from services.owners.owners import Owners
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
    owners: Owners

    async def __call__(
        self, principal: Principal, filters: UserFilters, *, limit: int | None = None, cursor: str | None = None
    ) -> UserPage:
        """A page of users, sorted by id. Raises NotAllowedError, InputError, UpstreamError.

        Users who are gone by now, or have another status than the directory knows, are left out: a page may be shorter
        than `limit`, and is the last one only without a cursor.
        """
        is_managed = filters.managed_by is not None
        authorize(principal, Permission.USERS_READ, principal.subject if is_managed else None)
        wanted = None if filters.status is None else UserStatus(filters.status)
        after, text = position_in(cursor, str), filters.query and filters.query.lower()
        size, kind = limit or DEFAULT_PAGE_SIZE, filters.kind
        if is_managed:
            return await self._managed(principal, after=after, text=text, kind=kind, status=wanted, size=size)
        # Before the page: a sweep that ends meanwhile may have added users whom the page lacks.
        sweep = await self.first_sweep.run("directory", self.sweep.ensure_first)
        rows = await self.directory.page(
            after=after[0] if after else None, text=text, status=wanted, kind=kind, limit=size + 1
        )
        users = await self._read([user_id for user_id, _ in rows[:size]])
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

    async def _managed(
        self,
        principal: Principal,
        *,
        after: tuple[str] | None,
        text: str | None,
        kind: str | None,
        status: UserStatus | None,
        size: int,
    ) -> UserPage:
        owners = await self.owners.managed_by(principal)
        titles = {principal.subject: None} | {ref: owner.entity.title for ref, owner in owners.items()}
        matching = [
            ref
            for ref in sorted(titles)
            if (after is None or ref > after[0])
            and kind in (None, kind_of(ref))
            and (text is None or text in searched_text(ref, titles[ref], None))
        ]
        shown = matching[:size]
        leaving = await self.directory.leaving_among(shown)
        users = await self._read([*leaving])
        tiers = {ref: owner.entry.limits for ref, owner in owners.items()}
        listed = [
            ListedUser(users[ref], _status(users[ref], is_leaving=leaving[ref]), tiers.get(ref))
            for ref in shown
            if ref in users
        ]
        absent = [owners[ref] for ref in shown if ref in owners and ref not in users and status is None]
        return UserPage(
            items=[row for row in listed if status in (None, row.status)],
            next_cursor=cursor_of(shown[-1]) if len(matching) > size else None,
            swept_at=(await self.directory.sweep()).swept_at,
            candidates=[Candidate(owner.entity.ref, owner.entity.title, owner.entry.limits) for owner in absent],
        )

    async def _read(self, user_ids: Sequence[str]) -> dict[str, User]:
        found = await self.litellm.read_users(user_ids)
        return {user.user_id: user for user in await self.dates.fill_in(found.values())}


def _status(user: User, *, is_leaving: bool) -> UserStatus:
    if is_leaving:
        return UserStatus.OFFBOARDING
    return UserStatus.OVER_BUDGET if user.is_over_budget else UserStatus.ACTIVE
