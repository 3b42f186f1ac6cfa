"""LiteLLM users: reading them, knowing who exists, and creating them on request or on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import cast

import structlog
from cachetools import TTLCache

from clients.litellm.client import LiteLLM, no_such_user
from domain import refs
from domain.actions import Action
from domain.directory import entry_of
from domain.errors import (
    ConflictError,
    InputError,
    OverloadedError,
    RateLimitedError,
    UpstreamError,
    UpstreamFaultError,
    ValuesRefusedError,
)
from domain.identity import Permission, Principal, Scope
from domain.users import USER_LIMITS, NewUser, User, UserChanges
from services.access import authorize, permits
from services.changes.change import Created
from services.changes.changes import Changes
from services.owners.owners import Owners
from services.single_flight import SingleFlight
from services.users.dates import CreationDates
from services.users.membership import CatalogMembership
from services.users.tiers import Tiers
from state.directory import Directory
from state.rates import RatePolicy

log = structlog.get_logger(__name__)

_MOST_KNOWN = 100_000


class Users:
    """Reads users, and knows which exist. Ids are user refs in lower case.

    A caller whose user this process saw within the last `known_seconds` is not looked up again, so that their usual
    request costs one call. `now` is a clock in seconds.
    """

    def __init__(
        self,
        *,
        litellm: LiteLLM,
        create_user: CreateUser,
        dates: CreationDates,
        known_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._litellm = litellm
        self._create_user = create_user
        self._dates = dates
        self._known: TTLCache[str, bool] = TTLCache(_MOST_KNOWN, ttl=known_seconds, timer=now)
        self._first_uses: SingleFlight[None] = SingleFlight()

    async def get(self, principal: Principal, user_id: str) -> User:
        """The user; the principal's own is created if missing. Raises NotAllowedError, NotFoundError, UpstreamError."""
        authorize(principal, Permission.USERS_READ, user_id)
        await self.ensure_own(principal, user_id)
        user = await self._litellm.read_user(user_id)
        if user is None and _creates(principal, user_id):
            self.forget(user_id)
            await self.ensure_own(principal, user_id)
            user = await self._litellm.read_user(user_id)
            if user is None:
                raise _missing_after_creation()
        if user is None:
            raise no_such_user(user_id)
        (dated,) = await self._dates.fill_in([user])
        return dated

    async def ensure_own(self, principal: Principal, user_id: str) -> None:
        """Creates the user if it is the principal's own and missing: a change of its own. Raises UpstreamError.

        Does nothing for another's user, for an auditor's, or without authority: the caller checks that.
        """
        if _creates(principal, user_id) and user_id not in self._known:
            await self._first_uses.run(user_id, lambda: self._first_use(principal, user_id))

    async def ensure_for_key(self, principal: Principal, user_id: str) -> None:
        """As `ensure_own`; a group or component gets its user, too, with the first key that somebody creates for it.

        Raises InputError if it may have no keys, ConflictError if its group has too many owners of keys, UpstreamError.
        """
        may_create = permits(principal, Permission.USERS_CREATE, user_id).scope is not None
        if refs.is_software(user_id) and may_create:
            # Also one that is known: it may have been deleted since it was seen here, and may have come back.
            await self._first_uses.run(user_id, lambda: self._first_use(principal, user_id))
        await self.ensure_own(principal, user_id)

    async def require(self, scope: Scope, user_id: str) -> None:
        """Raises NotFoundError if another's user does not exist. `ensure_own` has created the principal's own."""
        if scope is not Scope.OWN and not await self.exists(user_id):
            raise no_such_user(user_id)

    async def exists(self, user_id: str) -> bool:
        """Whether LiteLLM has the user now. Raises UpstreamError."""
        if await self._litellm.user_exists(user_id):
            self._known[user_id] = True
            return True
        self.forget(user_id)
        return False

    def forget(self, user_id: str) -> None:
        """Forgets the user: they may be gone."""
        self._known.pop(user_id, None)

    async def _first_use(self, principal: Principal, user_id: str) -> None:
        if not await self.exists(user_id):
            await self._create_user.on_first_use(principal, user_id)
            self._known[user_id] = True


@dataclass(frozen=True, kw_only=True)
class CreateUser:
    """Creates a user in LiteLLM with the limits of their tier and what the catalog says about them."""

    changes: Changes
    litellm: LiteLLM
    tiers: Tiers
    catalog: CatalogMembership | None
    owners: Owners
    directory: Directory
    rate: RatePolicy
    first_uses: RatePolicy

    async def __call__(self, principal: Principal, user_id: str, idempotency_key: str | None) -> Created[User]:
        """The new user.

        Raises NotAllowedError, InputError (in neither group, or no owner of keys), ConflictError (they exist, or their
        group has too many), RateLimitedError, and UpstreamError.
        """
        principal = await self.owners.acting(principal, user_id)
        async with self.changes.begin(
            principal, Action.USER_CREATE, user_id, idempotency_key=idempotency_key, rate=self.rate
        ) as change:
            if change.kept_answer is not None:
                return Created(_user(change.kept_answer), change.rate)
            await self._require_eligible(change.scope, user_id)
            # The user may be what an interrupted attempt of this very request created.
            was_attempted = any(row.same_request for row in change.interrupted)
            if was_attempted and await self.litellm.user_exists(user_id):
                user = await self._read_back(user_id)
            else:
                user = await self._create(principal, user_id)
            async with change.transaction() as connection:
                await self.directory.put(connection, [entry_of(user)])
                await change.done(user, after=asdict(user), connection=connection)
            return Created(user, change.rate)

    async def on_first_use(self, principal: Principal, user_id: str) -> None:
        """Creates a user whom LiteLLM did not have a moment ago: the principal's own, or a group's or component's.

        Raises InputError (no owner of keys), ConflictError (their group has too many), OverloadedError if it failed too
        often (no 429: the caller may be reading), UpstreamError.
        """
        try:
            await self._create_missing(principal, user_id)
        except RateLimitedError as error:
            message = "Creating the LiteLLM user failed too often; retry later"
            raise OverloadedError(message, error.rate.retry_after) from error

    async def _create_missing(self, principal: Principal, user_id: str) -> None:
        async with self.changes.begin(principal, Action.USER_CREATE, user_id, rate=self.first_uses) as change:
            if refs.is_software(user_id):
                await self._require_eligible(change.scope, user_id)
            try:
                user = await self._create(principal, user_id)
            except ConflictError:
                log.info("another request created the user meanwhile", user=user_id)
                user = await self._read_back(user_id)
            async with change.transaction() as connection:
                await self.directory.put(connection, [entry_of(user)])
                await change.done(connection=connection)

    async def _create(self, principal: Principal, user_id: str) -> User:
        """Creates the user, and returns them as LiteLLM has them. Raises ConflictError if they exist, UpstreamError."""
        new = await self._new_user(principal, user_id)
        try:
            await self.litellm.create_user(user_id, new)
        except ConflictError:
            if new.email is None or await self.litellm.user_exists(user_id):
                raise
            # E-mail addresses are unique in LiteLLM, and another user has this one.
            log.warning("creating a user without their e-mail address: another user has it", user=user_id)
            await self.litellm.create_user(user_id, replace(new, email=None, taken_email=new.email))
        return await self._with_limits(await self._read_back(user_id), new)

    async def _with_limits(self, user: User, new: NewUser) -> User:
        """The user without the limits that LiteLLM's own defaults filled in. What LiteLLM insists on stays."""
        limits = {name: getattr(new, name) for name in USER_LIMITS}
        if not any(getattr(user, name) != value for name, value in limits.items()):
            return user
        changes = {name: value or None if name == "models" else value for name, value in limits.items()}
        try:
            await self.litellm.update_user(user.user_id, cast("UserChanges", changes))
        except ValuesRefusedError as error:
            log.warning("LiteLLM insists on other limits than the tier's", user=user.user_id, reason=error.reason)
        return await self._read_back(user.user_id)

    async def _read_back(self, user_id: str) -> User:
        """The user that was just created. Raises UpstreamFaultError if LiteLLM does not have them."""
        user = await self.litellm.read_user(user_id)
        if user is None:
            raise _missing_after_creation()
        return user

    async def _require_eligible(self, scope: Scope, user_id: str) -> None:
        """Raises InputError for whom the cleanup would off-board, ConflictError for one owner too many of a group."""
        if refs.is_software(user_id):
            owner = await self.owners.require(user_id)
            if scope is not Scope.ANY:
                await self.owners.require_room(owner)
        elif self.catalog is not None and not await self.catalog.roles_of(user_id):
            raise InputError(
                f"{user_id} is in neither the allowed group nor the admin group; the cleanup would off-board them"
            )

    async def _new_user(self, principal: Principal, user_id: str) -> NewUser:
        tier = await self.tiers.of(principal, user_id)
        new = NewUser(tier=tier.name, **{name: getattr(tier, name) for name in USER_LIMITS})
        if refs.is_software(user_id):
            entity = (await self.owners.require(user_id)).entity
            return replace(new, display_name=entity.title, entity_uid=entity.uid)
        if self.catalog is None:
            return new
        try:
            profile = await self.catalog.user(user_id)
        except UpstreamError as error:
            # A missing name is no reason to refuse the user.
            log.warning("creating a user without their profile", user=user_id, error=error.message)
            return new
        return replace(new, display_name=profile.display_name, email=profile.email)


def _creates(principal: Principal, user_id: str) -> bool:
    return permits(principal, Permission.USERS_CREATE, user_id).scope is Scope.OWN


def _missing_after_creation() -> UpstreamFaultError:
    return UpstreamFaultError("LiteLLM confirmed that the user exists, and then did not find them")


def _user(answer: Mapping[str, object]) -> User:
    lists = {name: tuple(value) for name, value in answer.items() if isinstance(value, list)}
    return User(**{**answer, **lists})  # type: ignore[arg-type]  # it was a User
