"""Changing a user's budget and limits, for admins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from clients.litellm.client import LiteLLM, no_such_user
from domain.actions import Action
from domain.directory import entry_of
from domain.errors import ConflictError, InputError, NotFoundError, UpstreamFaultError
from domain.identity import Principal
from domain.refs import is_software
from domain.resource_versions import require_version
from domain.users import USER_LIMITS, User, UserChanges
from services.changes.changes import Changes
from services.owners.owners import Owners
from services.users.dates import CreationDates
from services.users.models import Models
from state.directory import Directory
from state.rates import RatePolicy

_ODD = object()


@dataclass(frozen=True, kw_only=True)
class UpdateUser:
    """Updates a user in LiteLLM and verifies the result."""

    changes: Changes
    litellm: LiteLLM
    models: Models
    owners: Owners
    directory: Directory
    dates: CreationDates
    rate: RatePolicy

    async def __call__(
        self, principal: Principal, user_id: str, requested: UserChanges, expected: frozenset[str] | None
    ) -> User:
        """The user as LiteLLM has them after the change. They must have one of the `expected` versions; None means any.

        Raises NotAllowedError, InputError, NotFoundError, PreconditionFailedError, ConflictError (another uid),
        RateLimitedError, OverloadedError, UpstreamError (also if LiteLLM ignored a value).
        """
        async with self.changes.begin(
            principal, Action.USER_UPDATE, user_id, requested=requested, rate=self.rate
        ) as change:
            await self.models.require_known(requested.get("models"))
            await self._require_uid(user_id, requested.get("entity_uid"))
            before = await self.litellm.read_user(user_id)
            if before is None:
                raise no_such_user(user_id)
            require_version(before.version, expected, "user")
            if not requested:
                return (await self.dates.fill_in([before]))[0]
            change.before = _changeable(before)
            await self._write(user_id, requested)
            after = await self._require_same_user(before, await self.litellm.read_user(user_id))
            async with change.transaction() as connection:
                await self.directory.put(connection, [entry_of(after)])
                await change.done(after=_changeable(after), connection=connection)
        _require_applied(after, requested)
        return (await self.dates.fill_in([after]))[0]

    async def _require_uid(self, user_id: str, entity_uid: str | None) -> None:
        """An admin accepts a group or component that was registered again by the uid that the catalog has now."""
        if entity_uid is None:
            return
        if not is_software(user_id):
            raise InputError("entityUid is for groups and components")
        entity = (await self.owners.require(user_id)).entity
        if entity.uid != entity_uid:
            raise ConflictError(f"The catalog has {user_id} with the uid {entity.uid}")

    async def _write(self, user_id: str, requested: UserChanges) -> None:
        limits = {name: value for name, value in requested.items() if name != "entity_uid"}
        if limits:
            await self.litellm.update_user(user_id, cast("UserChanges", limits))
        if "entity_uid" in requested:
            await self.litellm.annotate_user(user_id, requested["entity_uid"])

    async def _require_same_user(self, before: User, after: User | None) -> User:
        """LiteLLM creates a user who was deleted before the update: that user is deleted again."""
        if after is None:
            raise no_such_user(before.user_id)
        if "created_at" not in after.odd and after.created_at != before.created_at:
            await self.litellm.delete_user(before.user_id)
            raise NotFoundError(f"{before.user_id} was deleted by another request")
        return after


def _changeable(user: User) -> dict[str, Any]:
    fields = asdict(user)
    return {name: fields[name] for name in (*USER_LIMITS, "spend", "entity_uid") if name not in user.odd}


def _require_applied(after: User, requested: UserChanges) -> None:
    """LiteLLM ignores some values silently. Raises UpstreamFaultError for those."""
    actual = _changeable(after)
    expected = {name: tuple(value or ()) if name == "models" else value for name, value in _items(requested)}
    ignored = [name for name, value in expected.items() if name != "spend" and actual.get(name, _ODD) != value]
    if ignored:
        raise UpstreamFaultError(f"LiteLLM ignored {', '.join(ignored)}")


def _items(requested: UserChanges) -> list[tuple[str, Any]]:
    return list(requested.items())
