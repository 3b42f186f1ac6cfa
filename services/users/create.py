"""Creating LiteLLM users: on request, and on a member's first request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import cast

import structlog

from clients.litellm.client import LiteLLM
from domain.audit import Action
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
from domain.identity import Principal
from domain.keys import LIMITS
from domain.users import NewUser, User, UserChanges
from services.changes.change import Created
from services.changes.changes import Changes
from services.users.known import KnownUsers
from services.users.membership import CatalogMembership
from services.users.tiers import Tiers
from state.directory import Directory
from state.rates import RatePolicy

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class UserCreation:
    """Creates a user in LiteLLM with the limits of their tier and the profile of the catalog."""

    litellm: LiteLLM
    known: KnownUsers
    tiers: Tiers
    catalog: CatalogMembership | None

    async def create(self, principal: Principal, user_id: str) -> User:
        """Creates the user, and returns them as LiteLLM has them. Raises ConflictError if they exist, UpstreamError."""
        new = await self._new_user(principal, user_id)
        try:
            await self.litellm.create_user(user_id, new)
        except ConflictError:
            if new.email is None or await self.known.exists(user_id):
                raise
            # E-mail addresses are unique in LiteLLM, and another user has this one.
            log.warning("creating a user without their e-mail address: another user has it", user=user_id)
            await self.litellm.create_user(user_id, replace(new, email=None, taken_email=new.email))
        return await self._with_limits(await self.read_back(user_id), new)

    async def _with_limits(self, user: User, new: NewUser) -> User:
        """The user without the limits that LiteLLM's own defaults filled in. What LiteLLM insists on stays."""
        limits = {name: getattr(new, name) for name in LIMITS}
        if not any(getattr(user, name) != value for name, value in limits.items()):
            return user
        changes = {name: value or None if name == "models" else value for name, value in limits.items()}
        try:
            await self.litellm.update_user(user.user_id, cast("UserChanges", changes))
        except ValuesRefusedError as error:
            log.warning("LiteLLM insists on other limits than the tier's", user=user.user_id, reason=error.reason)
        return await self.read_back(user.user_id)

    async def read_back(self, user_id: str) -> User:
        """The user that was just created. Raises UpstreamFaultError if LiteLLM does not have them."""
        user = await self.litellm.read_user(user_id)
        if user is None:
            raise user_missing_after_creation()
        return user

    async def require_in_group(self, user_id: str) -> None:
        """Raises InputError for a user whom the catalog knows in neither group: the cleanup would remove them."""
        if self.catalog is not None and not await self.catalog.roles_of(user_id):
            raise InputError(
                f"{user_id} is in neither the allowed group nor the admin group; the cleanup would remove them"
            )

    async def _new_user(self, principal: Principal, user_id: str) -> NewUser:
        tier = await self.tiers.of(principal, user_id)
        new = NewUser(
            max_budget=tier.max_budget,
            budget_duration=tier.budget_duration,
            models=tier.models,
            tpm_limit=tier.tpm_limit,
            rpm_limit=tier.rpm_limit,
            tier=tier.name,
        )
        if self.catalog is None:
            return new
        try:
            profile = await self.catalog.user(user_id)
        except UpstreamError as error:
            # A missing name is no reason to refuse the user.
            log.warning("creating a user without their profile", user=user_id, error=error.message)
            return new
        return replace(new, display_name=profile.display_name, email=profile.email)


@dataclass(frozen=True, kw_only=True)
class CreateUser:
    """Creates a user on request."""

    changes: Changes
    creation: UserCreation
    known: KnownUsers
    directory: Directory
    rate: RatePolicy
    first_uses: RatePolicy

    async def __call__(self, principal: Principal, user_id: str, idempotency_key: str | None) -> Created[User]:
        """The new user.

        Raises NotAllowedError, InputError (in neither group), ConflictError (they exist), RateLimitedError, and
        UpstreamError.
        """
        async with self.changes.begin(
            principal, Action.USER_CREATE, user_id, idempotency_key=idempotency_key, rate=self.rate
        ) as change:
            if change.kept_answer is not None:
                return Created(_user(change.kept_answer), change.rate)
            await self.creation.require_in_group(user_id)
            # The user may be what an interrupted attempt of this very request created.
            was_attempted = any(row.same_request for row in change.interrupted)
            if was_attempted and await self.known.exists(user_id):
                user = await self.creation.read_back(user_id)
            else:
                user = await self.creation.create(principal, user_id)
            async with change.transaction() as connection:
                await self.directory.put(connection, [entry_of(user)])
                await change.done(user, after=asdict(user), connection=connection)
            return Created(user, change.rate)

    async def on_first_use(self, principal: Principal) -> None:
        """Creates the principal's own user unless they exist.

        Raises OverloadedError if it failed too often (no 429: the caller may be reading), UpstreamError.
        """
        if await self.known.exists(principal.subject):
            return
        try:
            await self._create_own(principal, principal.subject)
        except RateLimitedError as error:
            message = "Creating your LiteLLM user failed too often; retry later"
            raise OverloadedError(message, error.rate.retry_after) from error

    async def _create_own(self, principal: Principal, user_id: str) -> None:
        async with self.changes.begin(principal, Action.USER_CREATE, user_id, rate=self.first_uses) as change:
            try:
                user = await self.creation.create(principal, user_id)
            except ConflictError:
                log.info("another request created the user meanwhile", user=user_id)
                user = await self.creation.read_back(user_id)
            async with change.transaction() as connection:
                await self.directory.put(connection, [entry_of(user)])
                await change.done(connection=connection)
            self.known.add(user_id)


def user_missing_after_creation() -> UpstreamFaultError:
    """The error if LiteLLM confirms a user and then does not have them."""
    return UpstreamFaultError("LiteLLM confirmed that the user exists, and then did not find them")


def _user(answer: Mapping[str, object]) -> User:
    lists = {name: tuple(value) for name, value in answer.items() if isinstance(value, list)}
    return User(**{**answer, **lists})  # type: ignore[arg-type]  # it was a User
