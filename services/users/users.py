"""LiteLLM users: read, create, and create on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import structlog
from cachetools import TTLCache

from clients.litellm.client import LiteLLM, NewUser, no_such_user
from clients.litellm.rows import User
from domain.errors import ConflictError, InputError, UpstreamError, UpstreamFaultError
from services.access import Access, Principal, authorize
from services.changes.audit import Action, Audit
from services.changes.creations import Created, Creation, Creations
from services.users.membership import CatalogMembership
from services.users.single_flight import SingleFlight
from services.users.tiers import Tiers
from settings.model import Tier

log = structlog.get_logger(__name__)

_KNOWN_USERS = 100_000


class Users:
    """The LiteLLM users behind Backstage users. Ids are user refs in lower case.

    A user seen in LiteLLM is taken to be there for `known_seconds`, so that the usual request costs one call.
    """

    def __init__(
        self,
        litellm: LiteLLM,
        creations: Creations,
        tiers: Tiers,
        catalog: CatalogMembership | None,
        audit: Audit,
        *,
        known_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._litellm = litellm
        self._creations = creations
        self._tiers = tiers
        self._catalog = catalog
        self._audit = audit
        self._known: TTLCache[str, bool] = TTLCache(_KNOWN_USERS, ttl=known_seconds, timer=now)
        self._sightings: SingleFlight[None] = SingleFlight()

    async def create(self, principal: Principal, user_id: str, idempotency_key: str | None) -> Created[User]:
        """A new user with the limits of their tier. Raises NotAllowedError, InputError, ConflictError, UpstreamError.

        Somebody whom the catalog, where there is one to ask, knows in neither group is refused: the next cleanup would
        remove them.
        """
        return await self._creations.run(
            principal,
            idempotency_key,
            ["createUser", user_id],
            make=lambda creation: self._make(principal, user_id, creation),
            load=User,
            permit=lambda: self._audit.permit(principal, Action.USER_CREATE, user_id),
        )

    async def get(self, principal: Principal, user_id: str) -> User:
        """The user, created where it is the principal's own. Raises NotAllowedError, NotFoundError, UpstreamError."""
        access = authorize(principal, user_id)
        if access is Access.OWN:
            await self.ensure_own(principal)
        user = await self._litellm.read_user(user_id)
        if user is None and access is Access.OWN:
            self.forget(user_id)
            await self.ensure_own(principal)
            return await self._read_back(user_id)
        if user is None:
            raise no_such_user(user_id)
        return user

    async def ensure_own(self, principal: Principal) -> None:
        """Make sure that the principal's own user is there, by what is known of it already where possible."""
        user_id = principal.subject
        if user_id not in self._known:
            await self._sightings.run(user_id, lambda: self._look_or_create(principal))

    async def require(self, principal: Principal, user_id: str) -> Access:
        """Authority, and the user: the principal's own is created. Raises NotAllowedError, NotFoundError."""
        access = authorize(principal, user_id)
        if access is Access.OWN:
            await self.ensure_own(principal)
        elif not await self.exists(user_id):
            raise no_such_user(user_id)
        return access

    async def exists(self, user_id: str) -> bool:
        """Whether LiteLLM has the user now."""
        if await self._litellm.user_exists(user_id):
            self._known[user_id] = True
            return True
        self.forget(user_id)
        return False

    def forget(self, user_id: str) -> None:
        """The user may be gone: look again."""
        self._known.pop(user_id, None)

    async def _make(self, principal: Principal, user_id: str, creation: Creation) -> User:
        async with self._audit.attempt(principal, Action.USER_CREATE, user_id, operation=creation.operation) as attempt:
            authorize(principal, user_id)
            if self._catalog is not None and not await self._catalog.roles_of(user_id):
                raise InputError(
                    f"{user_id} is in neither the allowed group nor the admin group, and would be removed again"
                )
            new = await self._new(principal, user_id)
            await attempt.begin(wanted=asdict(new))
            if creation.cut_short is None or not await self.exists(user_id):
                await self._create(user_id, new)
            user = await self._read_back(user_id)
            await creation.keep(user_id, user)
            return user

    async def _look_or_create(self, principal: Principal) -> None:
        user_id = principal.subject
        if await self.exists(user_id):
            return
        async with self._audit.attempt(principal, Action.USER_CREATE, user_id) as attempt:
            new = await self._new(principal, user_id)
            await attempt.begin(wanted=asdict(new))
            try:
                await self._create(user_id, new)
            except ConflictError:
                log.info("another created them meanwhile", user=user_id)
            if not await self.exists(user_id):
                raise _contradiction()

    async def _new(self, principal: Principal, user_id: str) -> NewUser:
        return await self._with_profile(user_id, _limits_of(await self._tiers.of(principal, user_id)))

    async def _with_profile(self, user_id: str, new: NewUser) -> NewUser:
        if self._catalog is None:
            return new
        try:
            known = await self._catalog.user(user_id)
        except UpstreamError as error:
            # A name is not worth a refusal.
            log.warning("a user is created without their name", user=user_id, error=error.message)
            return new
        return replace(new, display_name=known.display_name, email=known.email)

    async def _create(self, user_id: str, new: NewUser) -> None:
        try:
            await self._litellm.create_user(user_id, new)
        except ConflictError:
            if new.email is None or await self.exists(user_id):
                raise
            # LiteLLM wants e-mail addresses to be unique, and another of its users has this one.
            log.warning("a user is created without their e-mail address: another has it", user=user_id)
            await self._litellm.create_user(user_id, replace(new, email=None))

    async def _read_back(self, user_id: str) -> User:
        if (user := await self._litellm.read_user(user_id)) is None:
            raise _contradiction()
        self._known[user_id] = True
        return user


def _limits_of(tier: Tier) -> NewUser:
    return NewUser(
        max_budget=tier.max_budget,
        budget_duration=tier.budget_duration,
        models=tier.models,
        tpm_limit=tier.tpm_limit,
        rpm_limit=tier.rpm_limit,
        tier=tier.name,
    )


def _contradiction() -> UpstreamFaultError:
    return UpstreamFaultError("LiteLLM says that it has the user, and then that it has not")
