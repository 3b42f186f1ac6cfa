"""When users were created, as far as anybody knows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from domain.times import text_of
from domain.users import User
from state.directory import Directory


@dataclass(frozen=True, kw_only=True)
class CreationDates:
    """Rows that are older than LiteLLM's column for it say no time. `now` is in seconds since the epoch."""

    directory: Directory
    now: Callable[[], float]

    async def fill_in(self, users: Collection[User]) -> list[User]:
        """The users. Without a time in LiteLLM, it is when a sweep first saw the user, or else now."""
        undated = [user.user_id for user in users if user.created_at is None]
        seen = await self.directory.first_seen(undated) if undated else {}
        return [
            user
            if user.created_at is not None
            else replace(user, created_at=text_of(seen.get(user.user_id, self.now())))
            for user in users
        ]
