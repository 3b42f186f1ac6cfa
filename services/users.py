"""LiteLLM users: read, create, and create on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from clients.litellm import LiteLLM, User, no_such_user
from services.access import Access, Principal, authorize
from services.errors import ConflictError, InputError, UpstreamFaultError
from services.membership import CatalogMembership
from services.single_flight import SingleFlight

_KNOWN_USERS = 100_000


@dataclass(frozen=True)
class UserDefaults:
    """What a new user gets: USD per duration (LiteLLM's form). None is no limit, and never resets."""

    max_budget: float | None
    budget_duration: str | None


class Users:
    """The LiteLLM users behind Backstage users. Ids are user refs in lower case.

    A user seen in LiteLLM is taken to be there for `known_seconds`, so that the usual request costs one call.
    """

    def __init__(
        self,
        litellm: LiteLLM,
        defaults: UserDefaults,
        catalog: CatalogMembership | None,
        *,
        known_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._litellm = litellm
        self._catalog = catalog
        self._defaults = defaults
        self._known: TTLCache[str, bool] = TTLCache(_KNOWN_USERS, ttl=known_seconds, timer=now)
        self._sightings: SingleFlight[User] = SingleFlight()

    async def create(self, principal: Principal, user_id: str) -> User:
        """A new user with the defaults. Raises NotAllowedError, InputError, ConflictError, UpstreamError.

        Somebody whom the catalog, where there is one to ask, knows in neither group is refused: the next cleanup would
        remove them.
        """
        authorize(principal, user_id)
        if self._catalog is not None and not await self._catalog.roles_of(user_id):
            raise InputError(
                f"{user_id} is in neither the allowed group nor the admin group, and would be removed again"
            )
        return await self._create(user_id)

    async def get(self, principal: Principal, user_id: str) -> User:
        """The user, created where it is the principal's own. Raises NotAllowedError, NotFoundError, UpstreamError."""
        if authorize(principal, user_id) is Access.OWN:
            return await self._ensure(user_id)
        if (user := await self._read(user_id)) is None:
            raise no_such_user(user_id)
        return user

    async def ensure_own(self, user_id: str) -> None:
        """Make sure that the principal's own user is there, by what is known of it already where possible."""
        if user_id not in self._known:
            await self._ensure(user_id)

    async def exists(self, user_id: str) -> bool:
        """Whether LiteLLM has the user now."""
        return await self._read(user_id) is not None

    async def _ensure(self, user_id: str) -> User:
        return await self._sightings.run(user_id, lambda: self._read_or_create(user_id))

    async def _read_or_create(self, user_id: str) -> User:
        if (user := await self._read(user_id)) is not None:
            return user
        try:
            return await self._create(user_id)
        except ConflictError:
            return await self._read_back(user_id)

    async def _create(self, user_id: str) -> User:
        await self._litellm.create_user(
            user_id, max_budget=self._defaults.max_budget, budget_duration=self._defaults.budget_duration
        )
        return await self._read_back(user_id)

    async def _read_back(self, user_id: str) -> User:
        if (user := await self._read(user_id)) is None:
            raise UpstreamFaultError("LiteLLM says that it has the user, and then that it has not")
        return user

    async def _read(self, user_id: str) -> User | None:
        user = await self._litellm.read_user(user_id)
        if user is None:
            self._known.pop(user_id, None)
        else:
            self._known[user_id] = True
        return user
