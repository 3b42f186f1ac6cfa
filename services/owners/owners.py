"""Which groups and components may have keys, with which tier, and who manages them: the catalog says so.

Its answers are remembered like those about people, so that leaving a group ends managing within a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from clients.backstage.catalog import Catalog
from clients.litellm.client import LiteLLM
from domain import refs
from domain.errors import ConflictError, InputError, NotAllowedError, OrchestratorError, UpstreamError
from domain.identity import Permission, Principal, Scope
from domain.owners import CatalogOwner, Departure, Owner, OwnerEntry
from domain.users import Tier
from services.access import may_manage, permits
from services.users.membership import Answers, CatalogMembership, not_sure
from state.directory import Directory

_NO_TIER = Tier("none", max_budget=0, tpm_limit=0, rpm_limit=0, max_keys=0)
"""For an owner whom no entry matches any more, until the off-boarding has blocked them: nothing new."""


class Owners:
    """Answers about groups and components. Refs are in lower case.

    `catalog` and `membership` are None without a token for the catalog: then there are no `entries` either.
    """

    def __init__(
        self,
        *,
        entries: Sequence[OwnerEntry],
        catalog: Catalog | None,
        membership: CatalogMembership | None,
        directory: Directory,
        litellm: LiteLLM,
        seconds: float,
        stale_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self.entries = entries
        self._catalog = catalog
        self._membership = membership
        self._directory = directory
        self._litellm = litellm
        self._found = Answers(self._find, seconds=seconds, stale_seconds=stale_seconds, now=now)
        self._managed = Answers(self._find_managed, seconds=seconds, stale_seconds=stale_seconds, now=now)

    async def acting(self, principal: Principal, owner: str) -> Principal:
        """The principal for a request about `owner`, with what they manage of it, or with why they do not.

        Asks the catalog for nobody who may do it anyway, or may not in any case. Raises nothing of an outage: that is
        the `refusal` then.
        """
        if not refs.is_software(owner):
            return principal
        if permits(principal, Permission.KEYS_CREATE).scope is Scope.ANY or not may_manage(principal):
            return principal
        try:
            refusal = await self._refusal(principal, owner)
        except UpstreamError as error:
            refusal = not_sure(error)
        if refusal is None:
            return replace(principal, manages=frozenset({owner}))
        # Who may be an admin, which is not known now, may do it as one.
        return principal if isinstance(principal.refusal, UpstreamError) else replace(principal, refusal=refusal)

    async def managed_by(self, principal: Principal) -> Mapping[str, Owner]:
        """The groups and components that the principal manages, by ref. Raises UpstreamError."""
        if not (self.entries and may_manage(principal)):
            return {}
        answer = await self._managed.get(principal.subject)
        return answer.value

    async def tier_of(self, owner: str) -> Tier:
        """The tier of a group or component. Raises UpstreamError."""
        found = (await self._found.get(owner)).value
        return _NO_TIER if found is None else found.entry.limits

    async def require(self, owner: str) -> Owner:
        """The group or component, which may have keys. Raises InputError, UpstreamError."""
        found = (await self._found.get(owner)).value
        if found is None:
            raise InputError(_no_owner(owner))
        return found

    async def require_unchanged(self, owner: str) -> None:
        """Raises InputError if the group or component may have no keys, NotAllowedError if it was registered again.

        UpstreamError if that cannot be told.
        """
        if refusal := await self._changed_hands(await self.require(owner)):
            raise refusal

    async def require_room(self, owner: Owner) -> None:
        """Raises ConflictError if one of its groups has as many owners of the entry as it may; UpstreamError."""
        entry, entity = owner.entry, owner.entity
        if entry.max_owners is None or not entity.belongs_to:
            return
        siblings = await self._siblings(owner)
        having = await self._directory.among([each.ref for each in siblings if each.ref != entity.ref])
        counts = Counter(group for each in siblings if each.ref in having for group in each.belongs_to)
        for group in sorted(entity.belongs_to):
            if counts[group] >= entry.max_owners:
                raise ConflictError(
                    f"{group} has {counts[group]} owners of keys ({entry.name}); {entry.max_owners} are allowed"
                )

    async def _siblings(self, owner: Owner) -> list[CatalogOwner]:
        """What belongs to the same groups, and meets the same entry as the first. Raises UpstreamError."""
        assert self._catalog is not None
        kind, groups = owner.entry.kind, owner.entity.belongs_to
        siblings = await self._catalog.owners_of(groups, kind, owner.entry.conditions)
        earlier = [entry for entry in self.entries[: self.entries.index(owner.entry)] if entry.kind == kind]
        others = {
            each.ref for entry in earlier for each in await self._catalog.owners_of(groups, kind, entry.conditions)
        }
        return [each for each in siblings if each.ref not in others]

    async def all(self, each_page: Callable[[], Awaitable[None]]) -> dict[str, Owner]:
        """Every group and component that may have keys, as the catalog has them now. Raises UpstreamError."""
        found: dict[str, Owner] = {}
        for entry in self.entries:
            assert self._catalog is not None
            for entity in await self._catalog.owners(entry.kind, entry.conditions, each_page):
                found.setdefault(entity.ref, Owner(entity, entry))
        return found

    async def departures(self, gone: Mapping[str, str | None], owners: Mapping[str, Owner]) -> dict[str, Departure]:
        """Why those of `gone`, by their uids here, are not among `owners` with that uid. Raises UpstreamError."""
        unmatched = sorted(gone.keys() - owners.keys())
        existing = frozenset() if self._catalog is None else await self._catalog.existing(unmatched)
        reasons = {ref: Departure.UNMATCHED if ref in existing else Departure.MISSING for ref in unmatched}
        return reasons | dict.fromkeys(gone.keys() & owners.keys(), Departure.REGISTERED_AGAIN)

    async def _refusal(self, principal: Principal, owner: str) -> OrchestratorError | None:
        """Why the principal does not manage the owner; None if they do. Raises UpstreamError."""
        if not self.entries or self._membership is None:
            return NotAllowedError(
                "Keys of groups and components take litellmOrchestrator.owners and backstage.catalogToken, which the "
                "operator has to set"
            )
        found = await self._found.get(owner)
        failures = [found.failure]
        if found.value is None:
            return not_sure(found.failure) if found.failure else NotAllowedError(_no_owner(owner))
        for manager in found.value.managers:
            answer = await self._membership.is_in(principal.subject, manager)
            failures.append(answer.failure)
            if answer.value:
                return await self._changed_hands(found.value)
        failure = next(filter(None, failures), None)
        managers = ", ".join([*sorted(found.value.managers), "admins"])
        return not_sure(failure) if failure else NotAllowedError(f"{owner} is managed by {managers}")

    async def _changed_hands(self, owner: Owner) -> OrchestratorError | None:
        """The refusal for an entity that has another uid than the owner of this name whom LiteLLM has."""
        ref, uid = owner.entity.ref, (await self._directory.uids([owner.entity.ref])).get(owner.entity.ref)
        if uid is None:
            user = await self._litellm.read_user(ref)
            if user is None:
                return None
            uid = user.entity_uid
        if uid == owner.entity.uid:
            return None
        return NotAllowedError(
            f"{ref} was registered again in Backstage's catalog; an admin has to accept its uid first"
        )

    async def _find(self, ref: str) -> Owner | None:
        assert self._catalog is not None
        for entry in self.entries:
            if entry.kind == refs.kind_of(ref) and (entity := await self._catalog.owner(ref, entry.conditions)):
                return Owner(entity, entry)
        return None

    async def _find_managed(self, subject: str) -> dict[str, Owner]:
        assert self._catalog is not None
        assert self._membership is not None
        groups = await self._catalog.groups_above((await self._membership.user(subject)).groups)
        found: dict[str, Owner] = {}
        for entry in self.entries:
            if entry.kind == "component":
                for entity in await self._catalog.owners_of({subject, *groups}, entry.kind, entry.conditions):
                    found.setdefault(entity.ref, Owner(entity, entry))
        theirs = [await self._found.get(group) for group in sorted(groups)]
        return found | {answer.value.entity.ref: answer.value for answer in theirs if answer.value is not None}


def _no_owner(owner: str) -> str:
    return (
        f"{owner} may have no keys: Backstage's catalog does not have it, or no entry of litellmOrchestrator.owners "
        "matches it"
    )
