"""All users, for admins."""

from __future__ import annotations

from collections.abc import Callable

from clients.litellm.client import LiteLLM
from domain.identity import USER_REF, Principal
from domain.pages import DEFAULT_PAGE_SIZE, Page, cursor_of, position_in
from domain.users import ListedUser, User, UserStatus
from services.access import authorize_admin
from services.single_flight import SingleFlight
from state.offboardings import Offboardings

_SNAPSHOT_SECONDS = 30.0
_SNAPSHOT = "snapshot"


class ListUsers:
    """Lists the LiteLLM users that are Backstage users. `now` is a clock in seconds."""

    def __init__(self, *, litellm: LiteLLM, offboardings: Offboardings, now: Callable[[], float]) -> None:
        self._litellm = litellm
        self._offboardings = offboardings
        self._now = now
        self._reads: SingleFlight[list[ListedUser]] = SingleFlight()
        self._snapshot: tuple[float, list[ListedUser]] | None = None

    async def __call__(
        self,
        principal: Principal,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        query: str | None = None,
        status: str | None = None,
    ) -> Page[ListedUser]:
        """A page of users, sorted by id. Raises NotAllowedError, InputError, UpstreamError.

        LiteLLM's own pages repeat and miss users if users come and go. So the first page reads all users, and the pages
        after it come from that snapshot for 30 seconds.
        """
        authorize_admin(principal)
        after = position_in(cursor, str)
        matching = [
            row
            for row in await self._users(fresh=after is None)
            if (after is None or row.user.user_id > after[0])
            and (status is None or row.status == status)
            and (query is None or _contains(row.user, query.lower()))
        ]
        size = limit or DEFAULT_PAGE_SIZE
        next_cursor = cursor_of(matching[size - 1].user.user_id) if len(matching) > size else None
        return Page(matching[:size], next_cursor)

    def forget(self) -> None:
        """Drops the snapshot: a user has changed."""
        self._snapshot = None

    async def _users(self, *, fresh: bool) -> list[ListedUser]:
        if not fresh and self._snapshot is not None and self._now() - self._snapshot[0] < _SNAPSHOT_SECONDS:
            return self._snapshot[1]
        return await self._reads.run(_SNAPSHOT, self._read)

    async def _read(self) -> list[ListedUser]:
        started = self._now()
        leaving = await self._offboardings.all()
        users = {user.user_id: user async for user in self._litellm.users() if USER_REF.fullmatch(user.user_id)}
        listed = [
            ListedUser(users[user_id], _status(users[user_id], is_leaving=user_id in leaving))
            for user_id in sorted(users)
        ]
        self._snapshot = (started, listed)
        return listed


def _contains(user: User, query: str) -> bool:
    return any(query in text.lower() for text in (user.user_id, user.display_name, user.email) if text)


def _status(user: User, *, is_leaving: bool) -> UserStatus:
    if is_leaving:
        return UserStatus.OFFBOARDING
    return UserStatus.OVER_BUDGET if user.is_over_budget else UserStatus.ACTIVE
