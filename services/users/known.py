"""Which users LiteLLM has, remembered for a while so that the usual request costs one call."""

from __future__ import annotations

from collections.abc import Callable

from cachetools import TTLCache

from clients.litellm.client import LiteLLM

_MAX_USERS = 100_000


class KnownUsers:
    """The users that this process saw in LiteLLM within the last `seconds`. `now` is a clock in seconds."""

    def __init__(self, *, litellm: LiteLLM, seconds: float, now: Callable[[], float]) -> None:
        self._litellm = litellm
        self._seen: TTLCache[str, bool] = TTLCache(_MAX_USERS, ttl=seconds, timer=now)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._seen

    async def exists(self, user_id: str) -> bool:
        """Whether LiteLLM has the user now. Raises UpstreamError."""
        if await self._litellm.user_exists(user_id):
            self.add(user_id)
            return True
        self.forget(user_id)
        return False

    def add(self, user_id: str) -> None:
        """Remembers a user whom LiteLLM has just returned."""
        self._seen[user_id] = True

    def forget(self, user_id: str) -> None:
        """Forgets the user: they may be gone."""
        self._seen.pop(user_id, None)
