"""LiteLLM users as a caller sees them. A caller's own user is created on their first request."""

from __future__ import annotations

from clients.litellm.client import LiteLLM, no_such_user
from domain.identity import Permission, Principal, Scope
from domain.users import User
from services.access import authorize, permits
from services.single_flight import SingleFlight
from services.users.create import CreateUser, user_missing_after_creation
from services.users.dates import CreationDates
from services.users.known import KnownUsers


class Users:
    """Reads users. Ids are user refs in lower case."""

    def __init__(self, *, litellm: LiteLLM, known: KnownUsers, create_user: CreateUser, dates: CreationDates) -> None:
        self._litellm = litellm
        self._dates = dates
        self._known = known
        self._create_user = create_user
        self._first_uses: SingleFlight[None] = SingleFlight()

    async def get(self, principal: Principal, user_id: str) -> User:
        """The user; the principal's own is created if missing. Raises NotAllowedError, NotFoundError, UpstreamError."""
        authorize(principal, Permission.USERS_READ, user_id)
        await self.ensure_own(principal, user_id)
        user = await self._litellm.read_user(user_id)
        if user is None and _creates(principal, user_id):
            self._known.forget(user_id)
            await self.ensure_own(principal, user_id)
            user = await self._litellm.read_user(user_id)
            if user is None:
                raise user_missing_after_creation()
        if user is None:
            raise no_such_user(user_id)
        (dated,) = await self._dates.fill_in([user])
        return dated

    async def ensure_own(self, principal: Principal, user_id: str) -> None:
        """Creates the user if it is the principal's own and missing: a change of its own. Raises UpstreamError.

        Does nothing for another's user, for an auditor's, or without authority: the caller checks that.
        """
        if _creates(principal, user_id) and user_id not in self._known:
            await self._first_uses.run(user_id, lambda: self._create_user.on_first_use(principal))

    async def require(self, scope: Scope, user_id: str) -> None:
        """Raises NotFoundError if another's user does not exist. `ensure_own` has created the principal's own."""
        if scope is not Scope.OWN and not await self._known.exists(user_id):
            raise no_such_user(user_id)


def _creates(principal: Principal, user_id: str) -> bool:
    return permits(principal, Permission.USERS_CREATE, user_id).scope is Scope.OWN
